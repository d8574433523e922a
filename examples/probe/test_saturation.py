"""The probe takes the exam, and what it says of a model is so."""

import math

import pytest
import torch
from rnnae_bench_saturation import Saturation

import rnnae_bench

TASK = "copy:smoke[protocol.max_steps=20,protocol.evaluate_every=10]"


def saturation(tmp_path, model, probe=Saturation):
    """What a short trial of a model measured."""
    (result,) = rnnae_bench.run(TASK, model, probes=[probe], out=tmp_path, progress=False)
    return result


def test_it_tells_a_saturated_model_from_one_that_is_not(tmp_path):
    result = saturation(tmp_path, "rnn[hidden_size=8]")
    series, measures = result.series, result.record.measures.by_name
    assert series["saturation"].steps.tolist() == list(range(1, 21))
    assert series["saturation/by_step"].values.shape == (20, 8)
    assert series["saturation"].values[-1] == pytest.approx(series["saturation/by_step"].values[-1].mean())
    assert measures["saturation"] == series["saturation"].values[-1] < 0.5
    assert measures["saturation/stuck"] == 0


def test_it_counts_what_lies_beyond_the_threshold():
    # Of a normal number the share beyond a is 1 - erf(a / sqrt 2).
    class States(rnnae_bench.SequenceModel):
        embedding = torch.nn.Identity()

        def __init__(self):
            torch.nn.Module.__init__(self)

        def states(self, inputs, lengths=None):
            return inputs

    class Trainer:
        class precision_plugin:
            train_step_context = torch.no_grad

    probe = Saturation(above=0.5)
    probe._batch = rnnae_bench.Batch(
        torch.randn(500, 10, 20, generator=torch.Generator().manual_seed(0)), torch.empty(0)
    )
    probe._measure(Trainer, States(), 3)
    assert probe.measures()["saturation"] == pytest.approx(1 - math.erf(0.5 / math.sqrt(2)), abs=0.01)


def test_a_model_without_states_is_not_measured_and_the_record_says_why(tmp_path):
    task = "reconstruct:smoke[protocol.max_steps=4,protocol.evaluate_every=4]"
    result = rnnae_bench.run(task, "dense_ae", probes=[Saturation], out=tmp_path, progress=False)
    assert result.record.status == "ok"
    assert result.record.absent["saturation"] == "DenseAutoencoder has no states at every step of its inputs"

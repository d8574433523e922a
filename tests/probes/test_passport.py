"""The memory passport of models whose memory is known."""

import numpy as np
import pytest
import torch
from rnnae_tasks.adding.datamodule import AddingTask
from rnnae_tasks.capacity.datamodule import CapacityTask
from rnnae_tasks.copy.datamodule import CopyTask
from rnnae_tasks.denoise.datamodule import DenoiseTask

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.errors import UserError
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.echo_state import EchoStateNetwork
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.probes import passport as module
from rnnae_bench.probes.passport import passport

COPY = CopyTask(delay=4, recall=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLES", 6000)
    monkeypatch.setattr(module, "MOST", {1: 1000, 2: 200, 3: 100})


class DelayLine(SequenceModel):
    """The last inputs, side by side: so many of them."""

    def __init__(self, spec, kept):
        self.kept = kept
        super().__init__(spec, kept * (spec.inputs.vocabulary if hasattr(spec.inputs, "vocabulary") else 2))

    def states(self, inputs, lengths=None):
        steps = inputs.shape[1]
        padded = torch.nn.functional.pad(inputs, (0, 0, self.kept - 1, 0))
        return torch.cat([padded[:, self.kept - 1 - lag :][:, :steps] for lag in range(self.kept)], dim=2)


def test_a_delay_line_of_symbols_knows_them_all_and_no_more():
    symbols, found = COPY.spec.inputs.vocabulary, passport(DelayLine(COPY.spec, 5), COPY, lags=12)
    assert (found.units, found.rank, found.dead) == (5 * symbols, 5 * (symbols - 1), 0)
    np.testing.assert_allclose(found.linear, np.where(np.arange(12) < 5, symbols - 1, 0), atol=1e-9)
    assert found.by_degree == pytest.approx({1: 5 * (symbols - 1), 2: 0, 3: 0}, abs=0.1)
    # All ten of the last inputs are shared: nothing is left to tell apart.
    assert (found.kernel_rank, found.generalisation_rank) == (5 * (symbols - 1), 0)
    # At the last step, the sixth of the recall's, the symbols stand 6 and 7 steps back: out of reach.
    assert [one["bits"] for one in found.known] == pytest.approx([0] * len(found.known), abs=1e-9)
    assert found.known_until is None


def test_what_is_known_of_the_tasks_rows_is_counted_from_the_last_scored_step():
    found = passport(DelayLine(COPY.spec, 8), COPY, lags=12)
    there = {one["lag"]: one["entropy"] for one in found.known if one["entropy"] > 0}
    # Two symbols of eight, which came first of eight steps.
    assert there == pytest.approx({6: 3, 7: 3}, abs=0.1)
    assert {one["lag"]: one["bits"] for one in found.known if one["lag"] in there} == pytest.approx(there, abs=0.1)
    assert found.known_until == 7


def test_numbers_are_cut_into_eight_parts():
    task = AddingTask(length=12)
    found = passport(DelayLine(task.spec, 3), task, lags=8)
    # Of the value three bits, of the mark, which is mostly 0, less than half a bit.
    assert (found.units, found.rank) == (6, 6)
    np.testing.assert_allclose(found.linear, [2, 2, 2, 0, 0, 0, 0, 0], atol=1e-9)
    for one in found.known:
        assert 1.5 < one["entropy"] < 2.1
        assert one["bits"] == pytest.approx(0, abs=0.1) if one["lag"] > 2 else one["bits"] > 1.2


def test_a_linear_reservoir_of_n_units_has_the_capacity_n(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLES", 40_000)
    task = CapacityTask(lags=5, length=12)
    options = {"activation": "identity", "topology": "orthogonal", "radius": 0.8, "bias": 0.0, "direct": False}
    torch.manual_seed(0)
    found = passport(EchoStateNetwork(task.spec, hidden_size=12, **options), task, lags=80)
    assert (found.units, found.rank) == (12, 12)
    assert found.linear.sum() == pytest.approx(12, rel=0.01)
    assert found.by_degree[2] + found.by_degree[3] < 0.05


def test_dead_units_are_counted_and_hold_nothing():
    model = GRU(COPY.spec, hidden_size=6)
    with torch.no_grad():
        # The update gate of two units always keeps the zero that they begin with.
        model.recurrence.bias_ih_l0[6:8] = 1e6
    found = passport(model, COPY, lags=10)
    assert (found.units, found.dead, found.rank) == (6, 2, 4)


def test_the_passport_is_the_same_each_time_and_plain_data():
    import json

    torch.manual_seed(0)
    model, told = GRU(COPY.spec, hidden_size=4), []
    one = passport(model, COPY, 10, lambda done, total: told.append((done, total))).summary()
    assert one == passport(model, COPY, 10).summary()
    assert json.loads(json.dumps(one))["information_processing"]["by_degree"].keys() == {"1", "2", "3"}
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]


@pytest.mark.parametrize(
    ("model", "task", "said"),
    [
        (lambda task: DenseAutoencoder(task.spec), DenoiseTask(), "has no states at every step"),
        (lambda task: GRU(task.spec, bidirectional=True), DenoiseTask(), "see later inputs too"),
    ],
)
def test_models_without_states_of_the_past_are_told_so(model, task, said):
    with pytest.raises(UserError, match=said):
        passport(model(task), task)


class OfOneLength(DelayLine):
    """It runs on sequences of the task's length only."""

    def states(self, inputs, lengths=None):
        if inputs.shape[1] != self.spec.inputs.length:
            raise ValueError("of that length only")
        return super().states(inputs, lengths)


def test_a_model_that_takes_no_other_sequences_is_told_so():
    with pytest.raises(UserError, match="can't be run on other inputs: ValueError: of that length only"):
        passport(OfOneLength(COPY.spec, 2), COPY)

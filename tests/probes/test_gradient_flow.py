"""The gradient through sequence time, against closed forms and plain autograd in double precision."""

import math
import warnings

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import nn

from rnnae_bench.configuration import Pair
from rnnae_bench.models.autoencoders import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU, LSTM, RNN, ThroughTime
from rnnae_bench.module import Optimization, SequenceModel
from rnnae_bench.probes.gradient_flow import GradientFlow, by_lag, over_batch, sampled_steps
from rnnae_bench.probes.last_step import scored_steps
from rnnae_bench.registry import tasks
from rnnae_bench.spec import Images, TaskSpec, Tokens
from rnnae_bench.task import Batch

STILL = Optimization(learning_rate=1e-30, clip=0.0)
"""Learns nothing: the weights stay what the test made them."""


def task_of(name, **overrides):
    task, _, variant = name.partition(":")
    return tasks().get(task).load().from_variant(variant or "smoke", **overrides)


def copy_task(delay, batch_size=4, max_steps=2):
    task = task_of("copy:smoke", delay=delay, recall=2)
    protocol = type(task.protocol)(**{**vars(task.protocol), "batch_size": batch_size, "max_steps": max_steps})
    return task_of("copy:smoke", delay=delay, recall=2, protocol=protocol)


def fit(model, task, *callbacks, precision="64-true", steps=None):
    """Train for a few steps with nothing but the callbacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*|.*max_epochs.*")
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps or task.protocol.max_steps,
            max_epochs=-1,
            precision=precision,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(model, datamodule=task)


def profiles(model, task, **options):
    """All columns of a probe after a short training: log10 g, ``[profiles lags]``."""
    probe = GradientFlow(task)
    fit(model, task, probe, **options)
    return {name: one.values for name, one in probe.series().items()}


def linear(task, weight, hidden_size=1):
    """A linear recurrence h_t = W h_(t-1) + W_ih x_t."""
    model = RNN(task.spec, hidden_size=hidden_size, activation="identity", optimization=STILL).double()
    with torch.no_grad():
        model.recurrence.weight_hh_l0.copy_(weight)
    return model


@pytest.mark.parametrize("a", [1e-3, 0.9, -0.9, 1.0, 1.1])
def test_scalar_linear_recurrence_has_the_closed_form(a):
    task = copy_task(delay=96)
    found = profiles(linear(task, torch.tensor([[a]])), task)
    profile = found["gradient_flow/last_step/recurrence.l0/h"][0]
    lags = np.arange(task.spec.sequence.length)
    assert len(profile) == task.spec.sequence.length == 100
    np.testing.assert_allclose(profile - profile[0], lags * math.log10(abs(a)), rtol=1e-5, atol=1e-5)
    for quantile in ("q10", "q90"):
        assert found[f"gradient_flow/last_step/recurrence.l0/h/{quantile}"].shape == (2, 100)


def test_training_loss_mixes_the_direct_gradients_in():
    """With a gradient d_t at every step, delta_t = d_t + a delta_(t+1); each by the readout of copy's own loss."""
    task = copy_task(delay=5)
    model = linear(task, torch.tensor([[0.5]]))
    batch = task.train_batch(0)
    states = model.states(model.embedding(batch.inputs).double()).detach().requires_grad_()
    direct = torch.autograd.grad(task.loss(model.head(states), batch), states)[0][..., 0]
    delta, expected = torch.zeros(len(direct), dtype=torch.float64), []
    for d in reversed(direct.unbind(1)):
        delta = d + 0.5 * delta
        expected.append(delta.abs().log10().mean())
    found = profiles(model, task)["gradient_flow/training_loss/recurrence.l0/h"][0]
    np.testing.assert_allclose(found, torch.stack(expected), rtol=1e-5)


def test_orthogonal_linear_recurrence_is_flat():
    task = copy_task(delay=96)
    model = RNN(task.spec, hidden_size=16, activation="identity", optimization=STILL)
    found = profiles(model, task, precision="32-true")["gradient_flow/last_step/recurrence.l0/h"]
    np.testing.assert_allclose(found, found[:, :1].repeat(100, axis=1), atol=1e-5)


def test_what_vanishes_from_single_precision_is_still_measured():
    """At T = 300 PyTorch's initial tanh RNN passes on a gradient that single precision rounds to exactly zero."""
    task = copy_task(delay=296)
    torch.manual_seed(0)
    model = RNN(task.spec, hidden_size=32, initialization="pytorch", optimization=STILL)
    single = profiles(model, task, precision="32-true")
    outputs = model(task.train_batch(0).inputs)
    weights = [weight.detach().clone() for weight in model.parameters()]
    double = RNN(task.spec, hidden_size=32, initialization="pytorch", optimization=STILL).double()
    with torch.no_grad():
        for mine, known in zip(double.parameters(), weights, strict=True):
            mine.copy_(known)
    assert outputs.isfinite().all()
    found = single["gradient_flow/last_step/recurrence.l0/h"][0]
    assert found[-1] < -60
    reference = profiles(double, task)["gradient_flow/last_step/recurrence.l0/h"][0]
    np.testing.assert_allclose(found, reference, rtol=1e-3)


KINDS = {"rnn": (RNN, nn.RNN), "lstm": (LSTM, nn.LSTM), "gru": (GRU, nn.GRU)}


def slow_norms(model, kind, task, batch, loss_of):
    """log10 ||dL/dh_t|| of one layer by running torch.nn's cell step by step: ``[batch time]`` for h (and c)."""
    cell = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](
        model.recurrence.input_size, model.recurrence.hidden_size
    ).double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(model.recurrence, f"{name}_l0"))
    state = torch.zeros(len(batch.inputs), model.recurrence.hidden_size, dtype=torch.float64)
    state = (state, state) if kind == "lstm" else state
    every = []
    for x in model.embedding(batch.inputs).double().unbind(1):
        state = cell(x, state)
        every.append(state if kind == "lstm" else (state,))
    outputs = torch.stack([one[0] for one in every], dim=1)
    prediction = model.head(outputs if task.spec.predicts == "every step" else outputs[:, -1])
    loss = loss_of(prediction)
    norms = {}
    for place, name in enumerate(("h", "c")[: len(every[0])]):
        gradients = torch.autograd.grad(loss, [one[place] for one in every], retain_graph=True)
        norms[name] = torch.stack(gradients, dim=1).norm(dim=-1).log10()
    return norms


@pytest.mark.parametrize("backend", ["auto", "kernel"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_readings_agree_with_autograd_step_by_step(kind, backend):
    task = copy_task(delay=4, batch_size=3)
    torch.manual_seed(1)
    model = KINDS[kind][0](task.spec, hidden_size=5, optimization=STILL).double()
    model.recurrence.backend = backend
    found = profiles(model, task)
    batch = task.train_batch(0)
    for reading, norms in (
        ("training_loss", slow_norms(model, kind, task, batch, lambda prediction: task.loss(prediction, batch))),
        ("last_step", last_step_norms(model, kind, task)),
    ):
        for state, each in norms.items():
            column = f"gradient_flow/{reading}/recurrence.l0/{state}"
            np.testing.assert_allclose(found[column][0], each.mean(dim=0).flip(0), rtol=2e-6)
            quantile = np.quantile(each.flip(1).numpy(), 0.9, axis=0)
            np.testing.assert_allclose(found[f"{column}/q90"][0], quantile, rtol=2e-6)
    assert ("gradient_flow/last_step/recurrence.l0/c" in found) == (kind == "lstm")


def last_step_norms(model, kind, task):
    """By hand: the cross-entropy of the last prediction, as its share in the task's mean."""
    fixed = task.train_batch(task.protocol.max_steps)
    length = task.spec.sequence.length

    def loss(prediction):
        first, stop = task.spec.scored_steps
        whole = nn.functional.cross_entropy(prediction[:, length - 1], fixed.targets[:, length - 1])
        kept = task.loss(prediction, fixed).detach()
        every = nn.functional.cross_entropy(prediction.flatten(0, 1), fixed.targets.flatten()).detach()
        scored = length if torch.isclose(kept, every) else stop - first
        return whole / scored

    return slow_norms(model, kind, task, fixed, loss)


def test_sequences_of_different_length_end_where_they_end():
    """names: two layers, both directions, the answer read from both ends."""
    protocol = type(task_of("names").protocol)(**{**vars(task_of("names").protocol), "batch_size": 3, "max_steps": 2})
    task = task_of("names", protocol=protocol)
    torch.manual_seed(2)
    model = GRU(task.spec, hidden_size=4, layers=2, bidirectional=True, optimization=STILL).double()
    found = profiles(model, task)
    batch = task.train_batch(0)
    lengths = batch.lengths.tolist()
    assert len(set(lengths)) > 1
    with model.recurrence.recording() as recordings:
        prediction = model(batch.inputs, batch.lengths)
    gradients = torch.autograd.grad(task.loss(prediction, batch), recordings[0].roots, allow_unused=True)
    recovered = recordings[0].recover(gradients)
    for passage in ("l0", "l0_reverse", "l1", "l1_reverse"):
        log_norm = recovered[passage]["h"].log_norm / math.log(10)
        profile = found[f"gradient_flow/training_loss/recurrence.{passage}/h"][0]
        for lag in range(max(lengths)):
            rows = [log_norm[length - 1 - lag, row] for row, length in enumerate(lengths) if lag < length]
            assert profile[lag] == pytest.approx(float(torch.stack(rows).mean()), rel=1e-5)


def test_foreign_recurrences_are_read_too():
    class Foreign(SequenceModel):
        def __init__(self, spec):
            super().__init__(spec, 5, STILL)
            self.memory = nn.GRU(self.embedding.features, 5, batch_first=True)

        def states(self, inputs, lengths=None):
            return self.memory(inputs)[0]

    task = copy_task(delay=4)
    torch.manual_seed(0)
    foreign, own = Foreign(task.spec).double(), GRU(task.spec, hidden_size=5, optimization=STILL).double()
    own.recurrence.load_state_dict(foreign.memory.state_dict())
    own.head.load_state_dict(foreign.head.state_dict())
    theirs, mine = profiles(foreign, task), profiles(own, task)
    assert len(theirs) == len(mine) == 6
    for name, values in mine.items():
        np.testing.assert_allclose(theirs[name.replace("recurrence.l0", "memory.l0")], values, rtol=1e-6)


def test_a_model_without_recurrence_reports_its_inputs():
    task = task_of("denoise")
    protocol = type(task.protocol)(**{**vars(task.protocol), "batch_size": 5, "max_steps": 2})
    task = task_of("denoise", protocol=protocol)
    torch.manual_seed(0)
    model = DenseAutoencoder(task.spec, optimization=STILL).double()
    batch = task.train_batch(0)
    found = profiles(model, task)
    assert {name.split("/")[0] for name in found} == {"input_saliency"}
    inputs = batch.inputs.double().requires_grad_()
    double = Batch(inputs, batch.targets.double())
    gradient = torch.autograd.grad(task.loss(model(inputs), double), inputs)[0]
    rows = gradient.transpose(1, 2).flatten(2).norm(dim=-1).log10().mean(dim=0).flip(0)
    np.testing.assert_allclose(found["input_saliency/training_loss/inputs/x"][0], rows, rtol=1e-5)
    fixed = task.train_batch(protocol.max_steps)
    inputs = fixed.inputs.double().requires_grad_()
    share = (model(inputs)[:, :, -1] - fixed.targets.double()[:, :, -1]).square().sum() / fixed.targets.numel()
    gradient = torch.autograd.grad(share, inputs)[0]
    rows = gradient.transpose(1, 2).flatten(2).norm(dim=-1).log10().mean(dim=0).flip(0)
    np.testing.assert_allclose(found["input_saliency/last_step/inputs/x"][0], rows, rtol=1e-5)


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("copy:smoke", "lstm"),
        ("sine:smoke", "rnn"),
        ("names:smoke", "gru"),
        ("names:smoke", "lstm"),
        ("denoise:smoke", "gru"),
        ("denoise:smoke", "conv_ae"),
    ],
)
def test_it_changes_nothing(task, model):
    """Weights, random numbers and gradients are the same to the bit, with and without the probe."""
    pair = Pair(task, model)
    options = pair.resolve({"task": {"protocol": {"max_steps": 3}}})
    weights, drawn = [], []
    for probed in (False, True):
        data = pair.build_task(options["task"], 0)
        built = pair.build_model(data, options["model"], 0)
        probe = GradientFlow(data)
        fit(built, data, *([probe] if probed else []), precision="32-true", steps=3)
        weights.append([weight.detach().clone() for weight in built.parameters()])
        drawn.append(torch.rand(1))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert torch.equal(*drawn)
    series = probe.series()
    assert series
    assert all(np.isfinite(one.values[:, 0]).all() for one in series.values())
    assert all(module.training for module in built.modules())


def test_a_cut_gradient_ends_at_the_cut():
    task = copy_task(delay=6)
    model = GRU(task.spec, hidden_size=5, through_time=ThroughTime(window=4), optimization=STILL).double()
    assert task.spec.sequence.length == 10
    found = profiles(model, task)
    last = found["gradient_flow/last_step/recurrence.l0/h"][0]
    assert np.isfinite(last[:2]).all()  # steps 9 and 8; the cut lies between 8 and 7
    assert len(last) == 2 or np.isnan(last[2:]).all()


def test_mixed_precision_is_read_in_single():
    task = copy_task(delay=6)
    torch.manual_seed(0)
    model = GRU(task.spec, hidden_size=8, optimization=STILL)
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    full = profiles(model, task, precision="32-true")
    model.load_state_dict(state)
    mixed = profiles(model, task, precision="bf16-mixed")
    for name, values in full.items():
        np.testing.assert_allclose(mixed[name], values, atol=0.05)


def test_profiles_are_denser_at_the_start_and_never_too_many():
    for steps, count in ((1, 8), (10, 8), (1000, 100), (5000, 100)):
        chosen = sorted(sampled_steps(steps, count))
        assert chosen[0] == 1
        assert chosen[-1] == steps
        assert len(chosen) <= count + 1
    chosen = np.array(sorted(sampled_steps(5000, 99)))
    assert (chosen <= 500).sum() > (chosen > 4500).sum()
    assert np.diff(chosen).max() <= 5000 / 66 + 1


def test_lags_count_back_from_each_anchor():
    log_norm = torch.arange(8.0).view(4, 2)
    found = by_lag(log_norm, torch.tensor([3, 1]), 4)
    nan = math.nan
    np.testing.assert_array_equal(found, [[6, 4, 2, 0], [3, 1, nan, nan]])


def test_zeros_and_gaps_do_not_count():
    decade = math.log(10)
    rows = torch.tensor([[0.0, -decade, -math.inf], [-2 * decade, math.nan, -math.inf]])
    mean, low, high = over_batch(rows)
    np.testing.assert_allclose(mean[:2], [-1, -1], rtol=1e-6)
    np.testing.assert_allclose(low[:2], [-1.8, -1], rtol=1e-6)
    np.testing.assert_allclose(high[:2], [-0.2, -1], rtol=1e-6)
    assert mean[2].isnan()


def test_last_scored_step():
    every = TaskSpec("t", Tokens(3, 9), Images(1, 9, 9), "every step", causal=True, scored_steps=(4, 7))
    lengths = torch.tensor([9, 6, 2])
    first, last = scored_steps(every, lengths)
    assert first.tolist() == [4, 4, 1]
    assert last.tolist() == [6, 5, 1]

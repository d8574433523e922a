"""The gradient through sequence time, against closed forms and plain autograd in double precision."""

import math
import warnings

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import nn

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU, LSTM, RNN, ThroughTime
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.probes.gradient_flow import COLUMNS, GradientFlow, by_lag, over_batch, sampled_steps
from rnnae_bench.probes.last_step import scored_steps
from rnnae_bench.records.profile import decay_rate
from rnnae_bench.trial.pair import Pair

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
    fixed = task.held_out(32)
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
        level = torch.stack([log_norm[length - 1, row] for row, length in enumerate(lengths)]).mean()
        for lag in range(max(lengths)):
            there = [
                (log_norm[length - 1], length - 1 - lag, row) for row, length in enumerate(lengths) if lag < length
            ]
            grown = torch.stack([log_norm[place, row] - last[row] for last, place, row in there]).mean()
            assert profile[lag] == pytest.approx(float(level + grown), rel=1e-5)
            assert found[f"gradient_flow/training_loss/recurrence.{passage}/h/rows"][0][lag] == len(there)


def test_foreign_recurrences_are_read_too():
    task = copy_task(delay=4)
    torch.manual_seed(0)
    foreign, own = Foreign(task.spec).double(), GRU(task.spec, hidden_size=5, optimization=STILL).double()
    own.recurrence.load_state_dict(foreign.memory.state_dict())
    own.head.load_state_dict(foreign.head.state_dict())
    theirs, mine = profiles(foreign, task), profiles(own, task)
    assert len(theirs) == len(mine) == 2 * 2 * len(COLUMNS)  # of the state and of the inputs
    for name, values in mine.items():
        np.testing.assert_allclose(theirs[name.replace("recurrence.l0", "memory.l0")], values, rtol=1e-6)


class Foreign(SequenceModel):
    """A recurrence of torch.nn, called in one of several ways."""

    def __init__(self, spec, kind="gru", way="whole", layers=1):
        super().__init__(spec, 5, STILL)
        options = {"num_layers": layers, "batch_first": way != "along the batch"}
        self.memory = KINDS[kind][1](self.embedding.features, 5, **options)
        self.way = way

    def states(self, inputs, lengths=None):
        steps = inputs.shape[1]
        if self.way in ("whole", "along the batch"):
            return self.memory(inputs)[0]
        if self.way == "reversed":
            return self.memory(inputs.flip(1))[0]
        if self.way == "strided":
            return self.memory(inputs[:, ::2])[0].repeat_interleave(2, dim=1)
        if self.way == "chunks as rows":
            return self.memory(inputs.reshape(2 * len(inputs), steps // 2, -1))[0].reshape(len(inputs), steps, -1)
        pieces = {"halves": (3, steps - 3), "anew": (3, steps - 3)}.get(self.way, (1,) * steps)
        state, every = None, []
        for piece in inputs.split(pieces, dim=1):
            output, state = self.memory(piece, state)
            # The last state is read too, beside the outputs.
            hidden = state[0] if isinstance(state, tuple) else state
            every.append(torch.cat((output[:, :-1], 0.5 * output[:, -1:] + 0.5 * hidden[-1:].transpose(0, 1)), dim=1))
            state = None if self.way == "anew" else state
        return torch.cat(every, dim=1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("way", ["steps", "halves"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_recurrence_called_in_pieces_is_read_as_one(kind, way, layers):
    """The profile is that of the same recurrence in one call, which is checked against autograd above."""
    task = copy_task(delay=4)
    torch.manual_seed(0)
    pieces, whole = (Foreign(task.spec, kind, each, layers).double() for each in (way, "whole"))
    whole.load_state_dict(pieces.state_dict())
    theirs, mine = profiles(pieces, task), profiles(whole, task)
    assert len(mine) == 2 * len(COLUMNS) * (layers * (2 if kind == "lstm" else 1) + 1)
    assert theirs.keys() == mine.keys()
    for name, values in mine.items():
        np.testing.assert_allclose(theirs[name], values, rtol=1e-6)


def test_what_vanishes_between_the_calls_of_a_foreign_recurrence_is_measured():
    task = copy_task(delay=296)
    torch.manual_seed(0)
    double = Foreign(task.spec, "rnn", "halves").double()
    single = Foreign(task.spec, "rnn", "halves")
    for model in (double, single):
        with torch.no_grad():
            for weight in model.memory.parameters():
                weight.copy_(torch.linspace(-0.2, 0.2, weight.numel()).view(weight.shape))
    single.head.load_state_dict(double.head.state_dict())
    name = "gradient_flow/last_step/memory.l0/h"
    found, expected = profiles(single, task, precision="32-true")[name][0], profiles(double, task)[name][0]
    assert found[-1] < -60
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("anew", "not each time with the very state that the last call returned"),
        ("strided", "it runs over 4 steps of 8 sequences, and the batch has 8 steps of 8"),
        ("chunks as rows", "it runs over 4 steps of 16 sequences, and the batch has 8 steps of 8"),
        ("along the batch", "its sequences are not the rows of the batch"),
        ("reversed", "its first step does not read the first step of the inputs"),
    ],
)
def test_a_foreign_recurrence_whose_steps_are_not_the_tasks_is_absent(way, reason):
    task = copy_task(delay=4, batch_size=8)
    task.evaluation_size = 8
    assert task.spec.sequence.length == 8  # as many as rows, so that their numbers don't tell
    torch.manual_seed(0)
    probe = GradientFlow(task)
    fit(Foreign(task.spec, "gru", way).double(), task, probe)
    assert {name.split("/")[0] for name in probe.series()} == {"input_saliency"}
    assert probe.absent.keys() == {f"gradient_flow/{reading}/memory" for reading in ("last_step", "training_loss")}
    assert all(reason in told for told in probe.absent.values())


def test_a_foreign_recurrence_that_reads_the_padding_too_has_its_lags_counted_from_each_end():
    protocol = type(task_of("names").protocol)(**{**vars(task_of("names").protocol), "batch_size": 3, "max_steps": 1})
    task = task_of("names", protocol=protocol)
    torch.manual_seed(2)
    foreign, own = Foreign(task.spec).double(), GRU(task.spec, hidden_size=5, optimization=STILL).double()
    own.recurrence.load_state_dict(foreign.memory.state_dict())
    own.head.load_state_dict(foreign.head.state_dict())
    theirs, mine = profiles(foreign, task), profiles(own, task)
    for name, values in mine.items():
        np.testing.assert_allclose(theirs[name.replace("recurrence.l0", "memory.l0")], values, rtol=1e-6)


@pytest.mark.parametrize("name", ["copy:smoke", "sine:smoke", "names:smoke", "denoise:smoke"])
def test_the_last_steps_loss_is_read_on_rows_of_the_validation_set(name):
    task = task_of(name)
    task.prepare_data()
    task.setup("fit")
    held, whole, trained = task.held_out(8), task.evaluation_set("validation"), task.train_batch(0)
    rows = [(whole.inputs == one).flatten(1).all(dim=1).nonzero()[0, 0].item() for one in held.inputs]
    assert len(set(rows)) == 8
    assert max(rows) - min(rows) > len(whole.targets) // 2
    assert held.targets.dim() == trained.targets.dim()
    assert task.loss(torch.zeros(8, *task_answer(task, held)), held).isfinite()


def task_answer(task, batch):
    model = GRU(task.spec, hidden_size=2)
    return model(batch.inputs, batch.lengths).shape[1:]


def test_targets_of_another_form_are_absent_with_the_reason():
    task = task_of("sine:smoke")
    task.held_out = lambda rows: task.evaluation_set("validation").rows(slice(0, rows))
    probe = GradientFlow(task)
    fit(GRU(task.spec, hidden_size=2, optimization=STILL), task, probe, precision="32-true", steps=1)
    assert {name.split("/")[1] for name in probe.series()} == {"training_loss"}
    assert probe.absent.keys() == {"gradient_flow/last_step"}
    assert "held_out" in probe.absent["gradient_flow/last_step"]


class Stateful(SequenceModel):
    """Keeps whatever can be kept: running statistics, a buffer written in every mode, one replaced, a carried state."""

    def __init__(self, spec):
        super().__init__(spec, 4, STILL)
        self.norm = nn.BatchNorm1d(self.embedding.features)
        self.memory = nn.GRU(self.embedding.features, 4, batch_first=True)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("mean", torch.zeros(4))
        self.carried = torch.zeros(4)
        self.total = torch.zeros(1)

    def states(self, inputs, lengths=None):
        states = self.memory(self.norm(inputs.transpose(1, 2)).transpose(1, 2))[0]
        self.calls += 1
        self.total += states.detach().sum()
        self.mean = states.detach().mean(dim=(0, 1))
        self.carried = states[-1, -1].detach() + torch.rand(1) + np.random.rand()
        self.seen = True
        return states


def test_the_probes_own_passes_leave_no_trace():
    task, ends = copy_task(delay=4), []
    for probed in (False, True):
        torch.manual_seed(0)
        np.random.seed(0)
        model = Stateful(task.spec)
        fit(model, task, *([GradientFlow(task)] if probed else []), precision="32-true")
        assert all(module.training for module in model.modules())
        assert model.calls == task.protocol.max_steps
        ends.append({**model.state_dict(), "carried": model.carried, "total": model.total})
        ends[-1] |= {"drawn": torch.rand(1), "numpy": torch.tensor(np.random.rand())}
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


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
    fixed = task.held_out(32)
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


def columns_of(rows):
    return dict(zip(COLUMNS, over_batch(torch.tensor(rows, dtype=torch.float64) * math.log(10)).numpy(), strict=True))


def test_zeros_and_gaps_do_not_count_and_are_counted():
    """The second sequence ends at lag 1; at lag 2 one is dead, one not finite, one alive."""
    inf, nan = math.inf, math.nan
    found = columns_of([[0.0, -1.0, -inf], [-2.0, nan, nan], [-4.0, -4.5, -5.0], [-2.0, -2.0, inf]])
    np.testing.assert_array_equal(found["/rows"], [4, 3, 3])
    np.testing.assert_allclose(found["/alive"], [1, 1, 1 / 3])
    np.testing.assert_allclose(found["/dead"], [0, 0, 1 / 3])
    np.testing.assert_allclose(found["/nonfinite"], [0, 0, 1 / 3])
    # The mean at lag 0 is -2; from there the others have fallen by 1, .5 and 0, and then the third by 1.
    np.testing.assert_allclose(found[""], [-2, -2.5, -3])
    np.testing.assert_allclose(found["/q10"][0], np.quantile([0, -2, -4, -2], 0.1))
    np.testing.assert_allclose(found["/q90"][1:], [np.quantile([-1, -4.5, -2], 0.9), -3])


def test_sequences_of_different_length_that_are_flat_have_a_flat_mean():
    """The gradient of the longer ones is larger, as a mean over steps makes it; it bends nothing."""
    rows = [[-0.1 * length] * length + [math.nan] * (30 - length) for length in (3, 8, 20, 30)]
    found = columns_of(rows)
    np.testing.assert_allclose(found[""], np.full(30, -0.1 * np.mean([3, 8, 20, 30])), rtol=1e-12)
    assert abs(decay_rate(found[""])) < 1e-14
    assert (found["/q10"] <= found[""] + 1e-12).all()
    assert (found["/q90"] >= found[""] - 1e-12).all()
    np.testing.assert_array_equal(found["/rows"][[0, 5, 10, 25]], [4, 3, 2, 1])


def test_without_any_sequence_alive_at_lag_0_the_next_lag_stands_for_it():
    found = columns_of([[-math.inf, -1.0, -3.0], [-math.inf, -2.0, -4.0]])
    np.testing.assert_allclose(found[""], [math.nan, -1.5, -3.5])
    np.testing.assert_array_equal(found["/dead"], [1, 0, 0])
    assert np.isnan(columns_of([[-math.inf, math.nan]])[""]).all()


def test_an_overflowing_gradient_is_measured():
    """W_hh = 3I and states near zero, where tanh is linear: 3^119 on the way back, from a large gradient."""
    task = copy_task(delay=116)
    found = {}
    for precision, dtype in (("32-true", torch.float32), ("64-true", torch.float64)):
        torch.manual_seed(0)
        model = RNN(task.spec, hidden_size=8, activation="tanh", optimization=STILL).to(dtype)
        with torch.no_grad():
            for weight in (*model.recurrence.parameters(), model.head.affine.bias):
                weight.zero_()
            model.recurrence.weight_hh_l0.copy_(3 * torch.eye(8))
            model.head.affine.weight.mul_(1e12)
        found[precision] = profiles(model, task, precision=precision)
    for reading in ("training_loss", "last_step"):
        name = f"gradient_flow/{reading}/recurrence.l0/h"
        single, double = found["32-true"][name][0], found["64-true"][name][0]
        assert len(single) == 120
        np.testing.assert_allclose(single, double, rtol=1e-5)
        assert single[-1] > 60
    np.testing.assert_allclose(single - single[0], np.arange(120) * math.log10(3), rtol=1e-5, atol=1e-5)


def test_last_scored_step():
    every = TaskSpec("t", Tokens(3, 9), Images(1, 9, 9), "every step", causal=True, scored_steps=(4, 7))
    lengths = torch.tensor([9, 6, 2])
    first, last = scored_steps(every, lengths)
    assert first.tolist() == [4, 4, 1]
    assert last.tolist() == [6, 5, 1]
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[0, 4], mask[0, 6], mask[1, 5], mask[2, 1] = False, False, False, False
    first, last = scored_steps(every, lengths, mask)
    assert first.tolist() == [5, 4, 1]
    assert last.tolist() == [5, 4, 1]
    answer = TaskSpec("t", Tokens(3, 9), Classes(2), "own length", causal=False, output_length=4)
    assert scored_steps(answer, lengths)[1].tolist() == [8, 5, 1]

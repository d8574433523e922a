"""States that a model shows by itself, by `watch` or by its `step`, against autograd that retains them all."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench import Batch, Optimization, SequenceModel, TaskSpec, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of
from rnnae_bench.errors import UserError
from rnnae_bench.probes.flows import Watch
from rnnae_bench.probes.misplaced import misplaced
from rnnae_bench.probes.watched import by_step

STILL = Optimization(learning_rate=1e-30, clip=0.0)


class Looped(SequenceModel):
    """A leaky integrator over a layer of plain units, in loops of its own; the ways in which it shows its states."""

    def __init__(self, spec, way="steps"):
        super().__init__(spec, 8, STILL)
        self.way = way
        self.low = nn.Linear(self.embedding.features + 4, 4)
        self.high = nn.Linear(4 + 4, 4)
        self.back = nn.Linear(self.embedding.features + 4, 4)

    def states(self, inputs, lengths=None):
        low = high = back = inputs.new_zeros(len(inputs), 4)
        lows, highs, backs = [], [], []
        for x in inputs.unbind(1):
            low = self.shown(torch.tanh(self.low(torch.cat((x, low), 1))), "l0/h")
            high = self.shown(torch.lerp(high, torch.tanh(self.high(torch.cat((low, high), 1))), 0.3), "l1/h")
            lows.append(low)
            highs.append(high)
        for t in reversed(range(inputs.shape[1])):
            new = torch.tanh(self.back(torch.cat((inputs[:, t], back), 1)))
            back = new if lengths is None else torch.where((t < lengths)[:, None], new, back)
            back = self.shown(back, "back/h", backward=True)
            backs.insert(0, back)
        return self.all_at_once(torch.stack(highs, 1), torch.stack(backs, 1))

    def shown(self, h, name, backward=False):
        return self.watch(h, name, backward) if self.way == "steps" else h

    def all_at_once(self, highs, backs):
        if self.way == "whole":
            highs, backs = self.watch(highs, "all/h"), self.watch(backs, "all/h", backward=True)
        if self.way == "chunks":
            highs = torch.cat([self.watch(piece, "all/h") for piece in highs.split(3, 1)], 1)
        return torch.cat((highs, backs), -1)


class Stepped(SequenceModel):
    """The state of a step is a dictionary with a matrix, a cell and a count; the parallel form is what a test says."""

    def __init__(self, spec):
        super().__init__(spec, 4, STILL)
        self.maps = nn.Linear(self.embedding.features + 4, 12)

    def initial_state(self, batch_size):
        return {"fast": torch.zeros(batch_size, 4, 4), "l1": (torch.zeros(batch_size, 4), torch.zeros(batch_size))}

    def step(self, inputs, state):
        key, value, gate = self.maps(torch.cat((inputs, state["l1"][0]), 1)).tanh().chunk(3, 1)
        fast = 0.9 * state["fast"] + key[:, :, None] * value[:, None, :]
        cell = state["l1"][0] * gate.sigmoid() + (fast @ gate[:, :, None]).squeeze(-1)
        return cell.tanh(), {"fast": fast, "l1": (cell, state["l1"][1] + 1)}


def spec_of(length, predicts="every step", variable=False):
    return TaskSpec("made up", Vectors(3, length), Values(2), predicts, causal=False, variable_length=variable)


def batch_of(length, rows, variable=False):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([length, *torch.randint(1, length + 1, (rows - 1,), generator=generator)])
    inputs = torch.randn(rows, length, 3, dtype=torch.float64, generator=generator)
    return Batch(inputs, torch.zeros(rows, length, 2), lengths if variable else None)


def loss_of(prediction, batch):
    """Any loss that looks at real steps alone."""
    weights = torch.linspace(0.5, 2, prediction[0].numel(), dtype=torch.float64).view(prediction.shape[1:])
    real = torch.ones_like(prediction)
    if batch.lengths is not None:
        real *= (torch.arange(prediction.shape[1]) < batch.lengths[:, None])[..., None]
    return (real * weights * prediction.square()).sum()


def kept(model, batch, monkeypatch):
    """The slow twin: the model runs step by step, every state retains its gradient, and autograd does the rest.

    Returns:
        By ``LAYER/STATE``, log ||dL/dh_t|| ``[time batch]`` in the order of time.
    """
    states = {}

    def keep(name, h):
        if h.requires_grad:
            h.retain_grad()
        states.setdefault(name, []).append(h)
        return h

    with monkeypatch.context() as patch:
        patch.setattr(
            model, "shown", lambda h, name, backward=False: keep(f"{name}{'_back' * backward}", h), raising=False
        )
        patch.setattr(model, "_show", lambda state: [keep(name, part) for name, part in parts_of(state)], raising=False)
        with by_step(model):
            loss_of(model(batch.inputs, batch.lengths), batch).backward()
    grads = {name: [torch.zeros_like(h) if h.grad is None else h.grad for h in one] for name, one in states.items()}
    norms = {name: torch.stack([g.reshape(len(g), -1).norm(dim=1).log() for g in one]) for name, one in grads.items()}
    return {name: norm.flip(0) if name.endswith("_back") else norm for name, norm in norms.items()}


def read(model, batch, spec):
    """What a profile reads: by ``LAYER/STATE`` in the order in which the direction reads; and what is refused."""
    watch = Watch(model, spec, batch)
    with by_step(model):
        watch.differentiate(loss_of(model(batch.inputs, batch.lengths), batch))
    flows, absent = watch.flows(lambda lengths, backward: lengths - 1, {})
    return {f"{one.layer}/{one.state}": one.log_norm for one in flows}, absent


SIZES = [(1, 1, False), (7, 1, False), (7, 3, False), (7, 4, True)]


def in_reading_order(norm, batch):
    """From the order of time to each row's own from its end, by hand; rows beyond are not compared."""
    steps = norm.shape[0] if batch.lengths is None else batch.lengths.tolist()
    ends = [steps] * norm.shape[1] if batch.lengths is None else steps
    turned = torch.full_like(norm, math.nan)
    for row, end in enumerate(ends):
        turned[:end, row] = norm[:end, row].flip(0)
    return turned


def assert_same(found, expected, batch):
    real = torch.ones_like(expected, dtype=torch.bool)
    if batch.lengths is not None:
        real = torch.arange(len(expected))[:, None] < batch.lengths
    np.testing.assert_allclose(found[real], expected[real], rtol=1e-10)


@pytest.mark.parametrize(("length", "rows", "variable"), SIZES)
@pytest.mark.parametrize("way", ["steps", "whole", "chunks"])
def test_a_watched_loop_has_the_gradient_that_autograd_keeps(way, length, rows, variable, monkeypatch):
    torch.manual_seed(1)
    spec, batch = spec_of(length, variable=variable), batch_of(length, rows, variable)
    model = Looped(spec, way).double()
    expected = kept(model, batch, monkeypatch)
    found, absent = read(model, batch, spec)
    assert absent == {}
    if way == "steps":
        assert found.keys() == {"l0/h", "l1/h", "back_reverse/h", "inputs/x"}
        assert_same(found["l0/h"], expected["l0/h"], batch)
        assert_same(found["l1/h"], expected["l1/h"], batch)
        assert_same(found["back_reverse/h"], in_reading_order(expected["back/h_back"], batch), batch)
        assert misplaced(model, batch, spec) == {}
        return
    # Of what is shown all at once a step's gradient is the direct one: nothing goes on from there.
    highs = model.states(batch.inputs, batch.lengths).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(model.head(highs), batch), highs)
    direct = gradient.transpose(0, 1)
    assert_same(found["all/h"], direct[..., :4].norm(dim=-1).log(), batch)
    if way == "whole":
        assert_same(found["all_reverse/h"], in_reading_order(direct[..., 4:].norm(dim=-1).log(), batch), batch)


@pytest.mark.parametrize(("length", "rows", "variable"), SIZES)
def test_a_step_has_the_gradient_of_each_part_of_its_state(length, rows, variable, monkeypatch):
    torch.manual_seed(1)
    spec, batch = spec_of(length, variable=variable), batch_of(length, rows, variable)
    model = Stepped(spec).double()
    expected = kept(model, batch, monkeypatch)
    found, absent = read(model, batch, spec)
    assert found.keys() == {"l0/fast", "l1/0", "inputs/x"}
    assert_same(found["l0/fast"], expected["fast"], batch)
    assert_same(found["l1/0"], expected["l1/0"], batch)
    assert absent == {}  # and nothing of what no weight or input reaches


def test_a_row_that_ended_keeps_its_output_and_its_state():
    torch.manual_seed(1)
    spec, batch = spec_of(7, variable=True), batch_of(7, 4, True)
    model = Stepped(spec).double()
    outputs, state = model.unrolled(batch.inputs, batch.lengths)
    for row, length in enumerate(batch.lengths.tolist()):
        alone, ended = model.unrolled(batch.inputs[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length].detach(), alone[0].detach(), rtol=1e-12)
        assert torch.equal(outputs[row, length:], outputs[row, length - 1].expand(7 - length, -1))
        for (_, mine), (_, own) in zip(parts_of(state), parts_of(ended), strict=True):
            np.testing.assert_allclose(mine[row].detach(), own[0].detach(), rtol=1e-12)


def test_outside_a_profile_a_watch_leaves_nothing():
    model = Looped(spec_of(7))
    h = model.low(torch.zeros(2, 7))
    node = h.grad_fn
    assert model.watch(h, "h") is h
    assert (h.grad_fn, h._backward_hooks) == (node, None)


def overwritten(model, h):
    h = h + 0
    model.watch(h)
    return h.mul_(2)


WRONG = {
    "detached": (lambda model, h: model.watch(h.detach()), "outside the graph"),
    "overwritten": (overwritten, "overwritten in place"),
    "not used": (lambda model, h: (model.watch(h.clone()), h)[1], "go on with what `watch` returns"),
    "twice": (lambda model, h: model.watch(model.watch(h)), "it is 14 steps in a forward pass, and the batch has 7"),
    "no rows": (lambda model, h: model.watch(h.sum(0, keepdim=True)) + h, "does not have the batch's 3 rows"),
    "a matrix": (lambda model, h: model.watch(h[:, None, None, :]).flatten(1), "show it as h.flatten(1)"),
    "no tensor": (lambda model, h: (model.shown_to and model.shown_to([h], "h"), h)[1], "and this is a list"),
    "two shapes": (
        lambda model, h: torch.cat((model.watch(h[:, :1]), model.watch(h[:, 1:])), 1),
        "states of two shapes, [3, 1] and [3, 3]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_state_is_refused_in_a_line(case):
    model = Looped(spec_of(7), way="none").double()
    show, reason = WRONG[case]
    model.shown = lambda h, name, backward=False: show(model, h) if name == "l0/h" else h
    found, absent = read(model, batch_of(7, 3), spec_of(7))
    assert found.keys() == {"inputs/x"}
    assert absent.keys() == {"l0/h"}
    assert absent["l0/h"].startswith("Looped.watch('h'): ")
    assert reason in absent["l0/h"]
    assert "\n" not in absent["l0/h"]


@pytest.mark.parametrize(
    ("show", "reason"),
    [
        (lambda model, highs, backs: [model.watch(h) for h in backs[::-1]], "show it with backward=True"),
        (lambda model, highs, backs: [model.watch(h) for h in [highs[0] * 0, *highs[:-1]]], "show what a step leaves"),
        (
            lambda model, highs, backs: [model.watch(h.roll(1, 0)) for h in highs],
            "its sequences are not the rows of the batch",
        ),
    ],
)
def test_states_that_are_not_those_of_the_batchs_steps_are_misplaced(show, reason):
    class Late(Looped):
        def all_at_once(self, highs, backs):
            show(self, highs.unbind(1), backs.unbind(1))
            return torch.cat((highs, backs), -1)

    batch = batch_of(7, 3)
    found = misplaced(Late(spec_of(7), "none").double(), batch, spec_of(7))
    assert reason in found["l0/h"]


def test_a_model_without_states_and_step_is_refused():
    class Neither(SequenceModel):
        def step(self, batch, stage):
            """Somebody's helper: without `initial_state` it is no step form."""

    with pytest.raises(UserError, match=r"^Neither gives neither states\(inputs, lengths\) nor both step"):
        Neither(spec_of(7), 4, STILL)

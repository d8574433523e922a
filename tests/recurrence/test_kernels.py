"""Every kernel against the reference and torch.nn: outputs, gradients and the deltas left behind, in float64."""

from itertools import product
from operator import itemgetter
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from rnnae_bench.recurrence import reference, reset_before
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.gru import GRUTape, gru
from rnnae_bench.recurrence.independent import IndependentTape, independent
from rnnae_bench.recurrence.lstm import LSTMTape, lstm
from rnnae_bench.recurrence.recovery import on_a_logarithmic_scale
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.reset_before import ResetBeforeTape
from rnnae_bench.recurrence.scaled import Scaled
from rnnae_bench.recurrence.vanilla import VanillaTape, rnn

GATES = {"tanh": 1, "relu": 1, "identity": 1, "modrelu": 1, "gru": 3, "lstm": 4}
GATES |= {"peephole": 4, "reset_before": 3, "independent": 1}
CELLS = ("lstm", "peephole")
"""Those with a cell beside the state."""
TOLERANCE = 1e-12
FEATURES, HIDDEN = 3, 7


pytestmark = pytest.mark.usefixtures("double")


class Case(NamedTuple):
    """What a recurrence is given, every tensor a leaf that needs its gradient."""

    x: Tensor
    weights: Weights
    initial: tuple[Tensor, ...]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, *self.learned, *self.initial]

    @property
    def learned(self) -> list[Tensor]:
        return [one for one in self.weights if one is not None]


def make(kind, steps, batch, models=None, scale=0.3, features=FEATURES, hidden=HIDDEN) -> Case:
    torch.manual_seed(0)
    lead = () if models is None else (models,)

    def draw(*shape: int) -> Tensor:
        return (torch.randn(*lead, *shape) * scale).requires_grad_()

    rows = GATES[kind] * hidden
    recurrent = draw(1 if kind == "independent" else rows, hidden)
    weights = Weights(draw(rows, features), recurrent, draw(rows), draw(rows))
    if kind == "peephole":
        weights = weights._replace(peepholes=draw(3 * hidden))
    return Case(
        draw(steps, batch, features), weights, tuple(draw(batch, hidden) for _ in range(2 if kind in CELLS else 1))
    )


def kernel(kind, case, padding=None, deltas=None) -> tuple[Tensor, ...]:
    """The kernel's states, and its cells where it has them."""
    if kind in CELLS:
        return lstm(case.x, case.weights, case.initial, padding, deltas)
    others = {"gru": gru, "reset_before": reset_before.gru, "independent": independent}
    if kind in others:
        return (others[kind](case.x, case.weights, case.initial[0], padding, deltas),)
    return (rnn(case.x, case.weights, case.initial[0], kind, padding, deltas),)


def twin(kind, case) -> tuple[list[Tensor], ...]:
    """The same by the reference, step by step."""
    if kind in CELLS:
        return reference.lstm(case.x, case.weights, case.initial)
    if kind == "independent":
        return (reference.independent(case.x, case.weights, case.initial[0]),)
    if kind in ("gru", "reset_before"):
        return (reference.gru(case.x, case.weights, case.initial[0], "after" if kind == "gru" else "before"),)
    return (reference.rnn(case.x, case.weights, case.initial[0], kind),)


def tape(kind, case, states):
    tapes = {"gru": GRUTape, "reset_before": ResetBeforeTape, "lstm": LSTMTape, "peephole": LSTMTape}
    if kind in tapes:
        return tapes[kind].recompute(case.x, case.weights, case.initial, states)
    if kind == "independent":
        return IndependentTape((states > 0).to(states.dtype), case.weights.w_ih, case.weights.w_hh)
    return VanillaTape.recompute(case.x, case.weights, case.initial, states, kind)


def loss_of(states, directs) -> Tensor:
    return torch.stack([(one * direct).sum() for one, direct in zip(states, directs, strict=True)]).sum()


def assert_close(found, expected, tolerance=TOLERANCE) -> None:
    """Equal to a tolerance relative to the largest number in each tensor."""
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert mine.shape == theirs.shape, place
        error = (mine - theirs).abs().max() / theirs.abs().max()
        assert error <= tolerance, f"tensor {place} is off by {error:.1e}"


def check_against_reference(kind, case) -> None:
    """Outputs, all gradients, deltas, and the deltas recovered by the tape."""
    deltas = Deltas()
    found, steps = kernel(kind, case, deltas=deltas), twin(kind, case)
    expected = [torch.stack(each, dim=-3) for each in steps]
    assert_close(found, expected)
    directs = [torch.randn_like(one) for one in expected]
    theirs = loss_of(expected, directs)
    gradients = torch.autograd.grad(theirs, case.leaves, retain_graph=True)
    assert_close(torch.autograd.grad(loss_of(found, directs), case.leaves), gradients)
    totals = [reference.deltas(theirs, each) for each in steps]
    left = [deltas.h, deltas.c] if kind in CELLS else [deltas.h]
    assert_close(left, totals)
    with torch.no_grad():
        backward = tape(kind, case, found[0].detach())
        direct = Scaled.unscaled(torch.cat(directs, dim=-1))
        swept, reached = backward.sweep(direct.value())
        assert_close(swept.values(), totals)
        assert_close([reached], [gradients[0]])
        delta = on_a_logarithmic_scale(backward, direct.normalized()).value()
        assert_close(backward.totals(delta).values(), totals)
        assert_close([backward.inputs(delta)], [gradients[0]])


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("steps", "batch", "models"), [*product((1, 2, 63), (1, 5), (None, 3))])
def test_agrees_with_the_reference(kind, steps, batch, models):
    check_against_reference(kind, make(kind, steps, batch, models))


@pytest.mark.parametrize(("kind", "batch", "models"), [*product(GATES, (1, 5), (None, 3))])
def test_agrees_with_the_reference_over_784_steps(kind, batch, models):
    # Contractive weights: what tanh doesn't bound must not grow without end.
    case = make(kind, 784, batch, models, scale=0.15)
    assert torch.linalg.matrix_norm(case.weights.w_hh[..., :HIDDEN, :], 2).max() < 1
    check_against_reference(kind, case)


@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
@pytest.mark.parametrize(("steps", "batch"), [*product((1, 2, 63), (1, 5)), (784, 5)])
def test_agrees_with_torch(kind, steps, batch):
    case = make(kind, steps, batch, scale=0.15 if steps == 784 else 0.3)
    if kind in ("tanh", "relu"):
        module = nn.RNN(FEATURES, HIDDEN, nonlinearity=kind)
    else:
        module = (nn.GRU if kind == "gru" else nn.LSTM)(FEATURES, HIDDEN)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    start = tuple(one.unsqueeze(0) for one in case.initial)
    weights = dict(zip(names, case.weights[:4], strict=True))
    states, _ = functional_call(module, weights, (case.x, start if kind == "lstm" else start[0]))
    found = kernel(kind, case)[0]
    assert_close([found], [states])
    direct = torch.randn_like(states)
    gradients = torch.autograd.grad((states * direct).sum(), case.leaves)
    assert_close(torch.autograd.grad((found * direct).sum(), case.leaves), gradients)


@pytest.mark.parametrize("kind", GATES)
def test_with_models_it_is_as_many_recurrences_side_by_side(kind):
    case = make(kind, 6, 2, models=3)
    states = kernel(kind, case)
    for model in range(3):
        alone = Case(
            case.x[model],
            case.weights.map(itemgetter(model)),
            tuple(one[model] for one in case.initial),
        )
        assert_close([one[model] for one in states], kernel(kind, alone))


@pytest.mark.parametrize("only", [0, 1])
@pytest.mark.parametrize("kind", CELLS)
def test_an_lstm_whose_loss_reads_one_of_its_two_outputs(kind, only):
    case = make(kind, 5, 2)
    deltas = Deltas()
    found, steps = kernel(kind, case, deltas=deltas), twin(kind, case)
    direct = torch.randn_like(found[only])
    theirs = (torch.stack(steps[only], dim=-3) * direct).sum()
    mine = torch.autograd.grad((found[only] * direct).sum(), case.leaves)
    assert_close(mine, torch.autograd.grad(theirs, case.leaves, retain_graph=True))
    # With a loss of the cells alone nothing reaches the last h, and its delta is zero.
    assert_close([deltas.h, deltas.c], [reference.deltas(theirs, each) for each in steps])


@pytest.mark.parametrize("kind", GATES)
def test_layout_of_what_it_is_given_does_not_matter(kind):
    """Inputs that lie batch first, and a gradient that is one number spread over the states."""
    case = make(kind, 6, 4)
    across = case._replace(x=case.x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_())
    assert not across.x.is_contiguous()
    mine = torch.autograd.grad(sum(one.sum() for one in kernel(kind, across)), across.leaves)
    theirs = torch.autograd.grad(sum(torch.stack(one).sum() for one in twin(kind, case)), case.leaves)
    assert_close(mine, theirs)


@pytest.mark.parametrize("kind", GATES)
def test_leaves_its_inputs_as_they_were_and_can_go_backward_twice(kind):
    case = make(kind, 4, 2)
    before = [leaf.detach().clone() for leaf in case.leaves]
    loss = sum(one.square().sum() for one in kernel(kind, case))
    first = torch.autograd.grad(loss, case.leaves, retain_graph=True)
    second = torch.autograd.grad(loss, case.leaves)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(torch.equal(leaf, kept) for leaf, kept in zip(case.leaves, before, strict=True))


@pytest.mark.parametrize("kind", GATES)
def test_gradients_that_nobody_wants_are_left_out_and_change_no_other(kind):
    case = make(kind, 5, 2)
    whole = torch.autograd.grad(kernel(kind, case)[0].square().sum(), case.leaves)
    fixed = Case(case.x.detach(), case.weights, tuple(one.detach() for one in case.initial))
    deltas = Deltas()
    found = torch.autograd.grad(kernel(kind, fixed, deltas=deltas)[0].square().sum(), case.learned)
    of_weights = whole[1 : 1 + len(case.learned)]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, of_weights, strict=True))
    assert deltas.h is not None


def flat(kind, padding=None):
    """The kernel as a function of its leaves, as gradcheck wants it."""

    def function(x, *leaves):
        many = 5 if kind == "peephole" else 4
        return kernel(kind, Case(x, Weights(*leaves[:many]), leaves[many:]), padding)

    return function


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("models", [None, 2])
def test_first_and_second_derivatives_agree_with_finite_differences(kind, models):
    case = make(kind, 3, 2, models, scale=0.5, features=2, hidden=2)
    padding = None
    if models:
        padding = torch.tensor([[[False, False], [False, False], [False, True]]] * models).unsqueeze(-1)
    assert torch.autograd.gradcheck(flat(kind, padding), case.leaves)
    assert torch.autograd.gradgradcheck(flat(kind, padding), case.leaves, fast_mode=True)


@pytest.mark.parametrize("kind", GATES)
def test_a_backward_pass_that_can_be_differentiated_has_the_same_gradients_and_leaves_no_deltas(kind):
    case = make(kind, 5, 2)
    deltas = Deltas()
    loss = kernel(kind, case, deltas=deltas)[0].square().sum()
    again = torch.autograd.grad(loss, case.leaves, create_graph=True)
    assert deltas.h is None
    assert_close(again, torch.autograd.grad(loss, case.leaves))
    assert deltas.h is not None


@pytest.mark.parametrize("kind", GATES)
def test_padding_changes_nothing_whatever_it_holds(kind):
    real, absent = 4, 5
    alone = make(kind, real, 1)
    # The loss reads the padding too: its gradient must not get in.
    direct = torch.randn(real + absent, 1, HIDDEN)
    padding = (torch.arange(real + absent) >= real)[:, None, None]

    def results(case, padding):
        deltas = Deltas()
        outputs = kernel(kind, case, padding, deltas)
        gradients = torch.autograd.grad(loss_of(outputs, [direct[: len(case.x)]] * len(outputs)), case.leaves)
        over_time = [*outputs, gradients[0], *(one for one in (deltas.h, deltas.c) if one is not None)]
        return over_time, gradients[1:]

    def padded(filling):
        x = torch.cat((alone.x.detach(), torch.full((absent, 1, FEATURES), filling)))
        return results(alone._replace(x=x.requires_grad_()), padding)

    over_time, of_weights = padded(0.0)
    for filling in (1.0, 1e30):
        for found, expected in zip(padded(filling), (over_time, of_weights), strict=True):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True)), filling
    assert len(over_time) == (5 if kind in CELLS else 3)
    assert not any(one[real:].any() for one in over_time)
    expected, gradients = results(alone, None)
    assert_close([one[:real] for one in over_time], expected)
    assert_close(of_weights, gradients)

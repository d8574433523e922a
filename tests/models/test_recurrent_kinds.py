"""Variants of RNN, LSTM and GRU, the IRNN, the orthogonal and the independent recurrence: against loops in numpy."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jaxtyping
import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.func import functional_call

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.independent import IndRNN
from rnnae_bench.models.orthogonal import ExpRNN
from rnnae_bench.models.recurrence_model import ThroughTime
from rnnae_bench.models.recurrent import GRU, IRNN, LSTM, RNN
from rnnae_bench.models.stacked import RecurrentStack
from rnnae_bench.recurrence.orthogonal import rotations

H, F = 5, 3
SPEC = TaskSpec("numbers", Vectors(F, 10), Values(2), "every step", causal=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sigma(z):
    return 1 / (1 + np.exp(-z))


def plain(x, h, w):
    return (np.tanh(w["weight_ih"] @ x + w["weight_hh"] @ h[0]),)


def rectified(x, h, w):
    a = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h[0] + w["bias_hh"]
    return (np.maximum(a, 0),)


def driven(x, h, w, gates):
    return np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], gates)


def coupled(x, state, w):
    h, c = state
    f, g, o = driven(x, h, w, 3)
    c = sigma(f) * c + (1 - sigma(f)) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def of_1997(x, state, w):
    h, c = state
    i, g, o = driven(x, h, w, 3)
    c = c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def peephole(x, state, w):
    h, c = state
    i, f, g, o = driven(x, h, w, 4)
    p_i, p_f, p_o = np.split(w["peephole"], 3)
    new = sigma(f + p_f * c) * c + sigma(i + p_i * c) * np.tanh(g)
    return sigma(o + p_o * new) * np.tanh(new), new


def coupled_peephole(x, state, w):
    h, c = state
    f, g, o = driven(x, h, w, 3)
    p_f, p_o = np.split(w["peephole"], 2)
    f = sigma(f + p_f * c)
    new = f * c + (1 - f) * np.tanh(g)
    return sigma(o + p_o * new) * np.tanh(new), new


def peephole_of_1997(x, state, w):
    h, c = state
    i, g, o = driven(x, h, w, 3)
    p_i, p_o = np.split(w["peephole"], 2)
    new = c + sigma(i + p_i * c) * np.tanh(g)
    return sigma(o + p_o * new) * np.tanh(new), new


def reset_before(x, state, w):
    (h,) = state
    (w_r, w_z, w_n), (u_r, u_z, u_n) = np.split(w["weight_ih"], 3), np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = np.split(w["bias_ih"] + w["bias_hh"], 3)
    r, z = sigma(w_r @ x + u_r @ h + b_r), sigma(w_z @ x + u_z @ h + b_z)
    n = np.tanh(w_n @ x + u_n @ (r * h) + b_n)
    return ((1 - z) * n + z * h,)


def orthogonal(x, state, w):
    n = len(state[0])
    s = np.zeros((n, n))
    s[np.triu_indices(n, 1)] = 0.1 * w["skew"]
    a = w["weight_ih"] @ x + scipy.linalg.expm(s - s.T) @ state[0]
    return (np.sign(a) * np.maximum(np.abs(a) + w["bias"], 0),)


def independent(x, state, w):
    u = np.clip(w["weight_hh"][0], -(2**0.1), 2**0.1)
    return (np.maximum(w["weight_ih"] @ x + w["bias_ih"] + u * state[0] + w["bias_hh"], 0),)


class Kind(NamedTuple):
    """A model, its options, its equation, and how many weights a layer has that reads f numbers into h."""

    model: type[SequenceModel]
    options: dict
    step: Callable
    count: Callable[[int, int], int]


KINDS = {
    "rnn without biases": Kind(RNN, {"bias": False}, plain, lambda f, h: h * (f + h)),
    "irnn": Kind(IRNN, {}, rectified, lambda f, h: h * (f + h + 2)),
    "coupled": Kind(LSTM, {"forget": "coupled"}, coupled, lambda f, h: 3 * h * (f + h + 2)),
    "1997": Kind(LSTM, {"forget": "none"}, of_1997, lambda f, h: 3 * h * (f + h + 2)),
    "peephole": Kind(LSTM, {"peepholes": True}, peephole, lambda f, h: 4 * h * (f + h + 2) + 3 * h),
    "coupled peephole": Kind(
        LSTM, {"forget": "coupled", "peepholes": True}, coupled_peephole, lambda f, h: 3 * h * (f + h + 2) + 2 * h
    ),
    "peephole of 1997": Kind(
        LSTM, {"forget": "none", "peepholes": True}, peephole_of_1997, lambda f, h: 3 * h * (f + h + 2) + 2 * h
    ),
    "reset before": Kind(GRU, {"reset": "before"}, reset_before, lambda f, h: 3 * h * (f + h + 2)),
    "exprnn": Kind(ExpRNN, {}, orthogonal, lambda f, h: h * (f + 1) + h * (h - 1) // 2),
    "indrnn": Kind(IndRNN, {}, independent, lambda f, h: h * (f + 3)),
}


def made(kind, spec=SPEC, **options):
    return KINDS[kind].model(spec, hidden_size=H, **{"layers": 1, **KINDS[kind].options, **options})


def randomised(model, std=0.4):
    """The model in double precision with every weight drawn at random."""
    for weight in model.double().parameters():
        nn.init.normal_(weight, std=std)
    return model


def slow(kind, model, inputs, state):
    """States and the last state of one sequence ``[time features]``, layer by layer; the state is [h(, c)] by layer."""
    ends = []
    for layer in range(model.recurrence.num_layers):
        w = {k: v.detach().numpy() for k, v in model.recurrence.own_weights(f"l{layer}").items()}
        now, states = tuple(one[layer] for one in state), []
        for x in inputs:
            now = KINDS[kind].step(x, now, w)
            states.append(now[0])
        ends.append(now)
        inputs = np.stack(states)
    return inputs, ends


@pytest.mark.parametrize("time", [1, 2, 63, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_states_follow_the_equations(kind, time):
    """From a state that is not zero, through two layers, to the last state."""
    model = randomised(made(kind, layers=2))
    inputs = torch.randn(2, time, F, dtype=torch.float64)
    state = tuple(torch.randn(2, 2, H, dtype=torch.float64) for _ in range(model.recurrence.states))
    states, final = model.resume(inputs, state)
    for row in range(2):
        start = [one[:, row].numpy() for one in state]
        expected, ends = slow(kind, model, inputs[row].numpy(), start)
        np.testing.assert_allclose(states[row].detach().numpy(), expected, rtol=1e-9, atol=1e-9)
        for layer, end in enumerate(ends):
            for mine, theirs in zip(final, end, strict=True):
                np.testing.assert_allclose(mine[layer, row].detach().numpy(), theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(inputs), model.head(model.states(inputs)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_inputs_and_weights_are_those_of_finite_differences(kind):
    model = randomised(made(kind, layers=2), std=0.7)
    inputs = torch.randn(2, 3, F, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]

    def predict(inputs, *weights):
        return functional_call(model, dict(zip(names, weights, strict=True)), (inputs,))

    leaves = [weight.detach().clone().requires_grad_() for weight in model.parameters()]
    if kind == "indrnn":
        for name, leaf in zip(names, leaves, strict=True):
            if "weight_hh" in name:
                leaf.data.clamp_(-1, 1)
    assert torch.autograd.gradcheck(predict, [inputs, *leaves], fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_are_trained_as_one_on_the_model_axis(kind):
    models = [made(kind, layers=2) for _ in range(3)]
    assert models[0].stackable() is None
    together = type(models[0]).stack(models)
    assert isinstance(together, RecurrentStack)
    inputs = torch.randn(3, 2, 10, F)
    found = together(inputs)
    for one, model in enumerate(models):
        torch.testing.assert_close(found[one], model(inputs[one]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_beyond_the_end_changes_nothing(kind):
    spec = TaskSpec("words", Tokens(4, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = made(kind, spec, bidirectional=True).eval()
    inputs, lengths = torch.randint(4, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 3
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    torch.testing.assert_close(model(inputs[:1, :4]), model(inputs, lengths)[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_state_are_as_many_as_it_says(kind):
    model = made(kind, layers=2)
    count = KINDS[kind].count
    assert sum(weight.numel() for weight in model.recurrence.parameters()) == count(F, H) + count(H, H)
    assert sum(weight.numel() for weight in model.head.parameters()) == 2 * H + (0 if "without" in kind else 2)
    assert model.state_size == 2 * H * (2 if KINDS[kind].model is LSTM else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_comes_near(kind):
    model = made(kind, layers=2).eval()
    inputs = torch.randn(2, 50, F)
    with torch.no_grad():
        exact = model.states(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = model.states(inputs)
    assert (near.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_windows_learned_states_and_reading_in_pieces(kind):
    """The state goes on over a cut and the gradient does not; a learned state gets a gradient."""
    whole = randomised(made(kind))
    cut = made(kind, through_time=ThroughTime(window=3)).double()
    cut.load_state_dict(whole.state_dict())
    inputs = torch.randn(2, 7, F, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(cut.states(inputs), whole.states(inputs))
    (gradient,) = torch.autograd.grad(cut.states(inputs)[:, -1].square().sum(), inputs)
    assert not gradient[:, :6].any()
    first, state = whole.resume(inputs[:, :4])
    second, _ = whole.resume(inputs[:, 4:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole.states(inputs))
    learning = made(kind, through_time=ThroughTime(learned_state=True))
    learning(torch.randn(2, 7, F)).square().sum().backward()
    assert all(one.grad.any() for one in learning.recurrence.learned)


def test_the_default_options_are_the_models_without_them():
    """The same weights under a seed, and the same numbers."""
    neutral = {RNN: {"bias": True}, LSTM: {"forget": "gate", "peepholes": False}, GRU: {"reset": "after"}}
    for kind, stated in neutral.items():
        models = []
        for options in ({}, stated):
            torch.manual_seed(3)
            models.append(kind(SPEC, hidden_size=H, **options))
        states = [model.state_dict() for model in models]
        assert list(states[0]) == list(states[1])
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_irnn_starts_as_the_identity():
    model = IRNN(SPEC, hidden_size=200, scale=0.5, input_scale=2.0)
    assert torch.equal(model.recurrence.weight_hh_l0, 0.5 * torch.eye(200))
    assert model.recurrence.weight_ih_l0.std().item() == pytest.approx(2 * math.sqrt(2 / (F * 10)), rel=0.1)
    assert not model.recurrence.bias_ih_l0.any()


def test_the_forget_bias_goes_to_the_forget_gate_of_three():
    model = made("coupled", forget_bias=2.5)
    assert model.recurrence.bias_ih_l0.tolist() == [2.5] * H + [0.0] * 2 * H
    assert not made("1997").recurrence.bias_ih_l0.any()


def test_the_cell_of_1997_keeps_all_that_was_written():
    model = made("1997")
    nn.init.zeros_(model.recurrence.weight_ih_l0)
    nn.init.zeros_(model.recurrence.weight_hh_l0)
    start = torch.randn(1, 2, H)
    _, (_, cell) = model.resume(torch.zeros(2, 500, F), (torch.zeros(1, 2, H), start))
    assert torch.equal(cell, start)


@pytest.mark.parametrize("start", ["henaff", "cayley"])
def test_the_matrix_is_orthogonal_before_and_after_learning(start):
    model = ExpRNN(SPEC, hidden_size=64, start=start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    inputs = torch.randn(8, 10, F)
    for _ in range(20):
        matrix = model.recurrence.weights_of("l0").w_hh
        assert (matrix.mT @ matrix - torch.eye(64)).abs().max() < 1e-6
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    angles = torch.linalg.eigvals(matrix.double()).angle()
    assert torch.linalg.det(matrix.double()).item() == pytest.approx(1.0, abs=1e-5)
    assert angles.abs().max() <= math.pi


def test_a_linear_orthogonal_recurrence_keeps_its_norm():
    model = ExpRNN(SPEC, hidden_size=32).double()
    nn.init.zeros_(model.recurrence.bias_l0)
    start = torch.randn(1, 2, 32, dtype=torch.float64)
    states, _ = model.resume(torch.zeros(2, 500, F, dtype=torch.float64), (start,))
    torch.testing.assert_close(states.norm(dim=-1), start[0].norm(dim=-1, keepdim=True).expand(2, 500))


def test_the_orthogonal_weights_learn_at_a_rate_of_their_own():
    """One step of Adam moves every entry of A by a share of what it moves the other weights by."""
    model = ExpRNN(SPEC, hidden_size=8, orthogonal_rate=0.25)
    stack = model.recurrence
    before, w = stack.rate * stack.skew_l0.detach().clone(), stack.weight_ih_l0.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, eps=1e-16)
    model(torch.randn(4, 10, F)).square().sum().backward()
    optimizer.step()
    moved = (stack.rate * stack.skew_l0.detach() - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25e-3), rtol=1e-2, atol=0)
    torch.testing.assert_close((stack.weight_ih_l0.detach() - w).abs(), torch.full_like(w, 1e-3), rtol=1e-2, atol=0)


def test_rotations_are_drawn_as_published():
    torch.manual_seed(0)
    henaff, cayley = rotations(20001, "henaff"), rotations(20001, "cayley")
    assert len(henaff) == len(cayley) == 10000
    assert henaff.abs().max() <= math.pi
    assert henaff.std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.03)
    assert cayley.max() <= 0
    assert cayley.min() >= -1  # tan(v / 2) for v up to pi / 2
    assert cayley.mean().item() == pytest.approx(-2 / math.pi * math.log(2), rel=0.03)
    turned = ExpRNN(SPEC, hidden_size=5).recurrence.weights_of("l0").w_hh
    assert torch.equal(turned[4], torch.eye(5)[4])
    assert not turned[:2, 2:].any()


def test_independent_weights_are_held_within_their_bound_and_come_back():
    model = IndRNN(SPEC, hidden_size=4, layers=2, gain=2.0)
    bound = 2 ** (1 / 10)
    first = model.recurrence.weight_hh_l0
    assert 0 <= first.min() <= first.max() <= bound
    with torch.no_grad():
        first.copy_(torch.tensor([[3.0, 3.0, -3.0, 0.5]]))
    used = model.recurrence.weights_of("l0").w_hh
    torch.testing.assert_close(used, torch.tensor([[bound, bound, -bound, 0.5]]))
    # Descent on this raises the first weight and the third's modulus, and lowers the second: only that one moves back.
    (gradient,) = torch.autograd.grad((used * torch.tensor([[-1.0, 1.0, 1.0, 1.0]])).sum(), first)
    assert gradient.tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_independent_units_start_with_long_memories_where_the_last_state_is_read():
    spec = TaskSpec("numbers", Vectors(F, 10), Values(2), "last step", causal=True)
    for read, shortest in ((spec, 2**-0.1), (SPEC, 0.0)):
        stack = IndRNN(read, hidden_size=500, layers=2, input_scale=0.5).recurrence
        assert shortest <= stack.weight_hh_l1.min() < shortest + 0.02
        assert stack.weight_hh_l0.min() < 0.02
        assert 2**0.1 - 0.02 < stack.weight_hh_l1.max() <= 2**0.1
        assert stack.weight_ih_l1.std().item() == pytest.approx(0.5 * math.sqrt(2 / 500 / 10), rel=0.02)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (IndRNN, {"input_scale": -1.0}, "input_scale is -1.0"),
        (LSTM, {"forget": "often"}, "forget is 'often'"),
        (GRU, {"reset": "between"}, "reset is 'between'"),
        (IRNN, {"scale": 0.0}, "scale is 0.0"),
        (IRNN, {"input_scale": 0.0}, "input_scale is 0.0"),
        (ExpRNN, {"orthogonal_rate": -1.0}, "orthogonal_rate is -1.0"),
        (ExpRNN, {"start": "zero"}, "start is 'zero'"),
        (ExpRNN, {"through_time": ThroughTime(recurrent_dropout=0.1)}, "recurrent_dropout is 0.1"),
        (IndRNN, {"gain": 0.5}, "gain is 0.5"),
        (IndRNN, {"gain": math.nan}, "gain is nan"),
        (ExpRNN, {"hidden_size": 0}, "hidden_size is 0"),
        (IndRNN, {"layers": 0}, "layers is 0"),
    ],
)
def test_bad_settings_are_refused_by_name(monkeypatch, kind, options, message):
    # A choice that there is not would be caught as a type.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match=message) as refusal:
        kind(SPEC, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["peephole", "exprnn", "indrnn", "reset before"])
def test_what_pytorch_has_not_fused_is_refused(kind):
    model = made(kind)
    stack, options = type(model.recurrence), {}
    if kind == "peephole":
        options = {"peepholes": True}
    elif kind == "indrnn":
        options = {"bound": 1.0}
    with pytest.raises(UserError, match="PyTorch has no fused"):
        stack(F, H, backend="fused", **options)(torch.randn(2, 3, F))

"""Recurrences driven by their inputs: against their papers' equations, and a package that has one of them."""

from itertools import product

import ncps.torch
import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.clockwork import Clockwork
from rnnae_bench.models.closed_form import CfC
from rnnae_bench.models.discretized import LEM, CoRNN

MODELS = (CoRNN, LEM, Clockwork, CfC)
SPEC = TaskSpec("numbers", Vectors(3, 10), Values(2), "every step", causal=True)
STRONG = {CoRNN: {"dt": 0.3, "gamma": 1.5, "epsilon": 0.8}, Clockwork: {"modules": 3}, CfC: {"backbone_units": 7}}
"""Settings in which a few steps move the state visibly."""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(kind, **options):
    """A model in float64 whose every weight counts."""
    model = kind(SPEC, hidden_size=8, **{**STRONG.get(kind, {}), **options}).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model


def sigma(v):
    return 1 / (1 + np.exp(-v))


def weights(model):
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("damping", ["implicit", "explicit"])
def test_coupled_oscillators_follow_their_equations(damping):
    model = made(CoRNN, damping=damping)
    w, dt, gamma, epsilon = weights(model), 0.3, 1.5, 0.8
    of_y, of_z = w["coupling.weight"][:, :8], w["coupling.weight"][:, 8:]
    inputs = torch.randn(1, 6, 3, dtype=torch.float64)
    y, z, ys = np.zeros(8), np.zeros(8), []
    for u in inputs[0].numpy():
        force = np.tanh(of_y @ y + of_z @ z + w["into.weight"] @ u + w["into.bias"])
        if damping == "explicit":
            z = z + dt * (force - gamma * y - epsilon * z)
        else:  # z_n = z + dt (force - gamma y - epsilon z_n), solved for z_n
            z = np.linalg.solve((1 + dt * epsilon) * np.eye(8), z + dt * (force - gamma * y))
        y = y + dt * z
        ys.append(y)
    np.testing.assert_allclose(model.states(inputs)[0].detach().numpy(), ys, rtol=1e-10)


def test_an_oscillator_alone_is_the_damped_oscillator_of_the_textbook():
    """y'' = -gamma y - epsilon y' from y = 1 at rest, as dt shrinks."""
    gamma, epsilon, dt = 2.7, 0.4, 1e-3
    model = made(CoRNN, gamma=gamma, epsilon=epsilon, dt=dt)
    for part in (model.into, model.coupling):
        nn.init.zeros_(part.weight)
    nn.init.zeros_(model.into.bias)
    start = (torch.ones(1, 8, dtype=torch.float64), torch.zeros(1, 8, dtype=torch.float64))
    y = model.resume(torch.zeros(1, 1000, 3, dtype=torch.float64), start)[0][0, :, 0].detach().numpy()
    t = dt * np.arange(1, 1001)
    omega = np.sqrt(gamma - epsilon**2 / 4)
    expected = np.exp(-epsilon * t / 2) * (np.cos(omega * t) + epsilon / (2 * omega) * np.sin(omega * t))
    np.testing.assert_allclose(y, expected, atol=3e-3)


def test_long_expressive_memory_follows_its_equations():
    model = made(LEM, dt=0.7)
    w = weights(model)
    v_1, v_2, v_z, v_y = np.split(w["into.weight"], 4)
    b_1, b_2, b_z, b_y = np.split(w["into.bias"], 4)
    w_1, w_2, w_z = np.split(w["from_y.weight"], 3)
    w_y = w["from_z.weight"]
    inputs = torch.randn(1, 6, 3, dtype=torch.float64)
    y, z, ys = np.zeros(8), np.zeros(8), []
    for u in inputs[0].numpy():
        d = 0.7 * sigma(w_1 @ y + v_1 @ u + b_1)
        e = 0.7 * sigma(w_2 @ y + v_2 @ u + b_2)
        z = (1 - d) * z + d * np.tanh(w_z @ y + v_z @ u + b_z)
        y = (1 - e) * y + e * np.tanh(w_y @ z + v_y @ u + b_y)
        ys.append(y)
    np.testing.assert_allclose(model.states(inputs)[0].detach().numpy(), ys, rtol=1e-10)


@pytest.mark.parametrize(("hidden", "modules"), [(8, 3), (9, 4), (4, 4), (3, 1), (2, 2)])
def test_a_clockwork_follows_its_equations(hidden, modules):
    """Module by module, and a module that does not run holds its state."""
    model = Clockwork(SPEC, hidden_size=hidden, modules=modules).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    w = weights(model)
    own = [list(part) for part in np.array_split(np.arange(hidden), modules)]
    inputs = torch.randn(1, 20, 3, dtype=torch.float64)
    h, hs = np.zeros(hidden), []
    for t, x in enumerate(inputs[0].numpy()):
        new = h.copy()
        for g, units in enumerate(own):
            if t % 2**g == 0:
                slower = [unit for module in own[g:] for unit in module]
                heard = w[f"blocks.{g}"] @ h[slower]
                new[units] = np.tanh(heard + w["into.weight"][units] @ x + w["into.bias"][units])
        h = new
        hs.append(h)
    np.testing.assert_allclose(model.states(inputs)[0].detach().numpy(), hs, rtol=1e-9, atol=1e-12)


def test_rows_of_a_clockwork_may_be_at_different_steps():
    model = made(Clockwork)
    inputs = torch.randn(2, 11, 3, dtype=torch.float64)
    whole = model.states(inputs)
    state = model.unrolled(inputs[:, :6], torch.tensor([3, 6]))[1]
    assert state["t"].tolist() == [3, 6]
    rest = torch.stack([inputs[0, 3:8], inputs[1, 6:]])
    expected = torch.stack([whole[0, 3:8], whole[1, 6:]])
    torch.testing.assert_close(model.resume(rest, state)[0], expected)


@pytest.mark.parametrize(("mode", "layers"), [*product(("default", "no_gate", "pure"), (0, 1, 3))])
def test_closed_form_networks_are_those_of_the_package(mode, layers):
    """`ncps`, by the authors of the paper, with the same weights."""
    model = made(CfC, mode=mode, backbone_layers=layers, tau=0.6)
    cell = ncps.torch.CfCCell(3, 8, mode=mode, backbone_units=7, backbone_layers=layers).double()
    first = torch.cat([model.into.weight, model.recurrent.weight], dim=1), model.into.bias
    ours = [first, *((layer.weight, layer.bias) for layer in model.above)]
    parts = [cell.ff1] if mode == "pure" else [cell.ff1, cell.ff2, cell.time_a, cell.time_b]
    theirs = [] if cell.backbone is None else [layer for layer in cell.backbone if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(theirs, ours[:-1], strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        for part, weight, bias in zip(parts, *(one.chunk(len(parts)) for one in ours[-1]), strict=True):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        if mode == "pure":
            cell.w_tau.copy_(model.rate)
            cell.A.copy_(model.amplitude)
    inputs, h = torch.randn(2, 6, 3, dtype=torch.float64), torch.zeros(2, 8, dtype=torch.float64)
    states = model.states(inputs)
    for t in range(6):
        h = cell(inputs[:, t], h, 0.6)[0]
        torch.testing.assert_close(states[:, t], h)
    count = sum(one.numel() for one in model.parameters()) - sum(one.numel() for one in model.head.parameters())
    assert count == sum(one.numel() for one in cell.parameters())


@pytest.mark.parametrize(("activation", "layers"), [("relu", 1), ("silu", 2), ("gelu", 1), ("tanh", 1)])
def test_backbones_have_the_activations_of_the_package(activation, layers):
    """Both start from the same draws here: of a sequence of such a network, the spread of its states."""
    model = CfC(SPEC, hidden_size=8, activation=activation, backbone_layers=layers)
    phi = {"relu": nn.ReLU(), "silu": nn.SiLU(), "gelu": nn.GELU(), "tanh": nn.Tanh()}[activation]
    x, h = torch.randn(4, 3), torch.randn(4, 8)
    v = phi(model.into(x) + h @ model.recurrent.weight.T)
    for layer in model.above[:-1]:
        v = phi(layer(v))
    f, g, a, c = model.above[-1](v).chunk(4, dim=-1)
    s = torch.sigmoid(a + c)
    torch.testing.assert_close(model.step(x, h)[0], f.tanh() * (1 - s) + g.tanh() * s)


def test_closed_form_networks_start_as_those_of_the_package():
    model, cell = CfC(SPEC, hidden_size=64), ncps.torch.CfCCell(3, 64)
    maps = torch.cat([cell.ff1.weight, cell.ff2.weight, cell.time_a.weight, cell.time_b.weight])
    assert model.recurrent.weight.std().item() == pytest.approx(cell.backbone[0].weight.std().item(), rel=0.05)
    assert model.above[0].weight.std().item() == pytest.approx(maps.std().item(), rel=0.05)


@pytest.mark.parametrize(("kind", "time"), [*product(MODELS, (1, 2, 63)), (Clockwork, 1000)])
def test_all_steps_are_the_loop_over_one(kind, time):
    """Outputs, gradients of inputs and weights, and the final state; of `states`, and from a state that is not zero."""
    model = made(kind)
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    zero = model.initial_state(2)
    start = unroll(model.step, zero, torch.randn(2, 3, 3, dtype=torch.float64))[1]
    for state in (None, start) if time < 1000 else (None,):
        ways = (model.resume(inputs, state), unroll(model.step, zero if state is None else state, inputs))
        torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-9, atol=1e-9)
        for (name, one), (same, other) in zip(*(parts_of(final) for _, final in ways), strict=True):
            assert name == same
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        weighted = torch.randn(ways[0][0].shape, dtype=torch.float64)
        wanted = [inputs, *(one for name, one in model.named_parameters() if not name.startswith("head"))]
        gradients = [torch.autograd.grad((out * weighted).sum(), wanted, retain_graph=True) for out, _ in ways]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", MODELS)
def test_what_stands_beyond_the_end_changes_nothing(kind):
    spec = TaskSpec("words", Tokens(5, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = kind(spec, hidden_size=8).eval()
    inputs, lengths = torch.randint(5, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 4
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    torch.testing.assert_close(model(inputs[:1, :4]), model(inputs, lengths)[:1])


@pytest.mark.parametrize(
    ("kind", "options", "weights", "numbers"),
    [
        (CoRNN, {}, 8 * (3 + 2 * 8 + 1), 16),
        (LEM, {}, 4 * 8 * (3 + 8 + 1), 16),
        (Clockwork, {"modules": 4}, 8 * 4 + 64 * (1 + 1 / 4) / 2, 8),
        (Clockwork, {"modules": 3}, 8 * 4 + 3 * 8 + 3 * 5 + 2 * 2, 8),
        (CfC, {"backbone_units": 5}, (3 + 8 + 1) * 5 + 4 * 6 * 8, 8),
        (CfC, {"backbone_units": 5, "backbone_layers": 3}, (3 + 8 + 1) * 5 + 2 * 6 * 5 + 4 * 6 * 8, 8),
        (CfC, {"backbone_layers": 0}, 4 * (3 + 8 + 1) * 8, 8),
        (CfC, {"backbone_units": 5, "mode": "pure"}, (3 + 8 + 1) * 5 + 6 * 8 + 2 * 8, 8),
    ],
)
def test_weights_and_states_are_as_many_as_the_cards_say(kind, options, weights, numbers):
    model = kind(SPEC, hidden_size=8, **options)
    head = sum(one.numel() for one in model.head.parameters())
    assert sum(one.numel() for one in model.parameters()) - head == weights
    assert model.state_size == numbers


@pytest.mark.parametrize("kind", MODELS)
def test_half_precision_comes_near(kind):
    model = kind(SPEC, hidden_size=16).eval()
    inputs = torch.randn(2, 200, 3)
    with torch.no_grad():
        exact = model(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near, state = model(inputs), model.resume(inputs)[1]
    assert (near.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(part.dtype is torch.float32 for _, part in parts_of(state) if part.is_floating_point())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CoRNN, {"hidden_size": 0}, "hidden_size is 0"),
        (CoRNN, {"dt": 0.0}, "dt is 0.0"),
        (CoRNN, {"gamma": -1.0}, "gamma is -1.0"),
        (CoRNN, {"epsilon": -1.0}, "epsilon is -1.0"),
        (CoRNN, {"dt": 0.5, "gamma": 40.0}, "with dt 0.5, gamma 40.0 and epsilon 1.0 the oscillators grow"),
        (CoRNN, {"dt": 0.5, "epsilon": 5.0, "damping": "explicit"}, "the oscillators grow"),
        (LEM, {"dt": 1.5}, "dt is 1.5"),
        (LEM, {"dt": float("nan")}, "dt is nan"),
        (LEM, {"hidden_size": -2}, "hidden_size is -2"),
        (Clockwork, {"modules": 0}, "modules is 0"),
        (Clockwork, {"hidden_size": 4, "modules": 5}, "modules is 5 with a hidden_size of 4"),
        (Clockwork, {"modules": 33}, "modules is 33"),
        (CfC, {"backbone_layers": -1}, "backbone_layers is -1"),
        (CfC, {"tau": 0.0}, "tau is 0.0"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, message):
    with pytest.raises(UserError, match=message) as refusal:
        kind(SPEC, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("epsilon", [0.0, 0.8, 7.0])
@pytest.mark.parametrize("damping", ["implicit", "explicit"])
def test_oscillators_are_refused_exactly_where_they_grow(damping, epsilon):
    """By the spectral radius of the step without its force, on both sides of the bound."""
    for dt in (0.1, 0.28, 0.3, 0.5, 0.9, 1.2, 1.6, 2.5):
        gamma = 1.7
        keep = 1 / (1 + dt * epsilon) if damping == "implicit" else 1 - dt * epsilon
        rate = dt * keep if damping == "implicit" else dt
        matrix = np.array([[1 - dt * rate * gamma, dt * keep], [-rate * gamma, keep]])
        grows = np.abs(np.linalg.eigvals(matrix)).max() > 1 + 1e-9
        try:
            CoRNN(SPEC, hidden_size=2, dt=dt, gamma=gamma, epsilon=epsilon, damping=damping)
        except UserError:
            assert grows
        else:
            assert not grows


@pytest.mark.parametrize("kind", MODELS)
def test_seeds_can_be_trained_as_one(kind):
    assert kind(SPEC).stackable() is None

"""Recurrences that are linear in their state: the two forms against each other, and against their papers' equations."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.lru import LRU
from rnnae_bench.models.minimal import MinGRU, MinLSTM

MODELS = (MinGRU, MinLSTM, LRU)
SPEC = TaskSpec("numbers", Vectors(3, 10), Values(2), "every step", causal=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(kind, **options):
    """A model in float64 whose every weight counts."""
    model = kind(SPEC, hidden_size=6, layers=2, **options).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4) if weight.dim() > 1 else weight.data.add_(0.1 * torch.randn_like(weight))
    return model


def sigma(v):
    return 1 / (1 + np.exp(-v))


def affine(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def normed(layer, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


@pytest.mark.parametrize(("kind", "time"), [*product(MODELS, (1, 2, 63)), (MinGRU, 1000), (LRU, 1000)])
def test_all_steps_at_once_are_the_loop(kind, time):
    """Outputs, gradients of inputs and weights, and the final state, from a state that is not zero."""
    model = made(kind, feedforward=2)
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    start = unroll(model.step, model.initial_state(2), torch.randn(2, 3, 3, dtype=torch.float64))[1]
    ways = (model.resume(inputs, start), unroll(model.step, start, inputs))
    weights = torch.randn(ways[0][0].shape, dtype=torch.float64)
    wanted = [inputs, *model.layers.parameters()]
    gradients = [
        torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True, allow_unused=True)
        for outputs, _ in ways
    ]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-9, atol=1e-9)
    for (name, one), (same, other) in zip(*(parts_of(state) for _, state in ways), strict=True):
        assert name == same
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("kind", "candidate"), [*product((MinGRU, MinLSTM), ("positive", "linear"))])
def test_minimal_units_follow_their_equations(kind, candidate):
    model = made(kind, expansion=2, candidate=candidate)
    inputs = torch.randn(1, 5, 3, dtype=torch.float64)
    x = affine(model.enter, inputs[0].numpy())
    for layer in model.layers:
        mixer = layer.mixer
        read = np.split(affine(mixer.read, normed(layer.norm, x)), 2 if kind is MinGRU else 3, axis=-1)
        values = read[-1]
        if candidate == "positive":
            values = np.where(values >= 0, values + 0.5, sigma(values))
        h, states = np.zeros(12), []
        for t in range(5):
            if kind is MinGRU:
                z = sigma(read[0][t])
                h = (1 - z) * h + z * values[t]
            else:
                f, i = sigma(read[0][t]), sigma(read[1][t])
                h = f / (f + i) * h + i / (f + i) * values[t]
            states.append(h)
        x = x + affine(mixer.write, np.stack(states))
    expected = affine(model.head.affine, normed(model.leave, x))
    np.testing.assert_allclose(model(inputs)[0].detach().numpy(), expected, rtol=1e-9)


def test_the_linear_recurrent_unit_follows_its_equations():
    model = made(LRU, state=4)
    inputs = torch.randn(1, 5, 3, dtype=torch.float64)
    x = affine(model.enter, inputs[0].numpy())
    for layer in model.layers:
        mixer = layer.mixer
        rate, phase, gain, into, out, through = (
            getattr(mixer, name).detach().numpy()
            for name in ("log_rate", "log_phase", "log_gain", "into", "out", "through")
        )
        eigenvalues = np.exp(-np.exp(rate) + 1j * np.exp(phase))
        b, c = into[0] + 1j * into[1], out[0] + 1j * out[1]
        state, ys = np.zeros(4, complex), []
        for u in normed(layer.norm, x):
            state = eigenvalues * state + np.exp(gain) * (b @ u)
            y = (c @ state).real + through * u
            ys.append(y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2))))
        value, gate = np.split(affine(mixer.gate, np.stack(ys)), 2, axis=-1)
        x = x + value * sigma(gate)
    expected = affine(model.head.affine, normed(model.leave, x))
    np.testing.assert_allclose(model(inputs)[0].detach().numpy(), expected, rtol=1e-9)


def test_the_unit_starts_in_its_ring_and_keeps_the_variance_of_white_noise():
    model = LRU(SPEC, hidden_size=64, layers=1, state=400, radius=(0.5, 0.9))
    mixer = model.layers[0].mixer
    moduli = mixer.eigenvalues().abs()
    assert 0.5 <= moduli.min() < 0.55
    assert 0.85 < moduli.max() <= 0.9
    noise = torch.randn(4, 300, 64)
    _, state = mixer(noise, {"x": torch.zeros(4, 400, dtype=torch.complex64)})
    # E |x|^2 = gamma^2 |B u|^2 / (1 - |lambda|^2) = 1, since B is of unit variance over its features.
    assert state["x"].abs().square().mean().item() == pytest.approx(1.0, rel=0.1)


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
    ("kind", "options", "numbers"),
    [
        (MinGRU, {"layers": 3, "expansion": 4}, 3 * 4 * 8),
        (MinLSTM, {}, 2 * 2 * 8),
        (LRU, {"state": 5}, 2 * 2 * 5),
    ],
)
def test_the_state_is_as_large_as_it_says(kind, options, numbers):
    model = kind(SPEC, hidden_size=8, **options)
    assert model.state_size == numbers


def test_parameter_counts():
    def count(model):
        return sum(weight.numel() for weight in model.layers[0].mixer.parameters())

    n, units = 8, 16
    assert count(MinGRU(SPEC, hidden_size=n)) == 2 * (n + 1) * units + (units + 1) * n
    assert count(MinLSTM(SPEC, hidden_size=n)) == 3 * (n + 1) * units + (units + 1) * n
    assert count(LRU(SPEC, hidden_size=n, state=5)) == 3 * 5 + 4 * 5 * n + n + (n + 1) * 2 * n


@pytest.mark.parametrize("kind", MODELS)
def test_half_precision_comes_near(kind):
    model = kind(SPEC, hidden_size=16).eval()
    inputs = torch.randn(2, 50, 3)
    with torch.no_grad():
        exact = model(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(inputs)
    assert (near.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MinGRU, {"hidden_size": 0}, "hidden_size is 0"),
        (MinGRU, {"expansion": -1}, "expansion is -1"),
        (MinLSTM, {"layers": 0}, "layers is 0"),
        (MinLSTM, {"feedforward": -2}, "feedforward is -2"),
        (LRU, {"state": 0}, "state is 0"),
        (LRU, {"radius": (0.9, 0.5)}, r"radius is \[0.9, 0.5\]"),
        (LRU, {"radius": (0.9, 1.5)}, r"radius is \[0.9, 1.5\]"),
        (LRU, {"dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, message):
    with pytest.raises(UserError, match=message) as refusal:
        kind(SPEC, **options)
    assert "\n" not in str(refusal.value)


def test_seeds_can_be_trained_as_one():
    assert MinGRU(SPEC).stackable() is None
    assert LRU(SPEC).stackable() is None
    assert "dropout" in MinGRU(SPEC, dropout=0.1).stackable()

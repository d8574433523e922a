"""State spaces: all steps at once against the loop, and both against the equations of their papers and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import cont2discrete
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.mamba import Mamba
from rnnae_bench.models.s4d import S4D, first_poles

SPEC = TaskSpec("numbers", Vectors(3, 10), Values(2), "every step", causal=True)
KINDS = [(S4D, {"poles": 4}), (S4D, {"poles": 3, "discretisation": "bilinear", "start": "inv"}), (Mamba, {"state": 3})]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(kind, **options):
    """A model in float64 whose every weight counts."""
    model = kind(SPEC, hidden_size=6, layers=2, **options).double()
    for name, weight in model.named_parameters():
        if not name.endswith(("log_decay", "frequency", "log_dt")):
            weight.data.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("time", [1, 2, 63, 1000])
def test_all_steps_at_once_are_the_loop(kind, options, time):
    """Outputs, gradients of inputs and weights, and the final state, from a state that is not zero."""
    model = made(kind, **options)
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    start = unroll(model.step, model.initial_state(2), torch.randn(2, 5, 3, dtype=torch.float64))[1]
    ways = (model.resume(inputs, start), unroll(model.step, start, inputs))
    weights = torch.randn(ways[0][0].shape, dtype=torch.float64)
    wanted = [inputs, *model.layers.parameters()]
    gradients = [torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True) for outputs, _ in ways]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-8, atol=1e-8)
    for (name, one), (same, other) in zip(*(parts_of(state) for _, state in ways), strict=True):
        assert name == same
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("discretisation", "method"), [("zoh", "zoh"), ("bilinear", "bilinear")])
def test_the_discretisation_is_scipys(discretisation, method):
    mixer = made(S4D, poles=3, discretisation=discretisation).layers[0].mixer
    decay, drive = (one.detach().numpy() for one in mixer.discrete())
    for feature in range(6):
        poles = -np.exp(mixer.log_decay.detach().numpy()[feature]) + 1j * mixer.frequency.detach().numpy()[feature]
        dt = math.exp(mixer.log_dt[feature].item())
        for n, pole in enumerate(poles):
            # A complex pole as a rotation of two real numbers.
            matrix = np.array([[pole.real, -pole.imag], [pole.imag, pole.real]])
            step, into, *_ = cont2discrete((matrix, np.eye(2), np.eye(2), np.zeros((2, 2))), dt, method)
            assert step[0, 0] + 1j * step[1, 0] == pytest.approx(decay[feature, n], rel=1e-9)
            assert into[0, 0] + 1j * into[1, 0] == pytest.approx(drive[feature, n], rel=1e-9)


def test_the_impulse_response_is_the_closed_form():
    """y_k = 2 Re C A'^k B' for k > 0, and D more at 0."""
    mixer = made(S4D, poles=4).layers[0].mixer
    mixer.gate = nn.Identity()
    mixer._gated = lambda y, inputs: y + mixer.through * inputs
    impulse = torch.zeros(1, 20, 6, dtype=torch.float64)
    impulse[0, 0] = 1.0
    start = {"x": torch.zeros(1, 6, 4, dtype=torch.complex128)}
    found = mixer(impulse, start)[0][0].detach().numpy()
    decay, drive = (one.detach().numpy() for one in mixer.discrete())
    out = torch.complex(*mixer.out).detach().numpy()
    for k in range(20):
        expected = 2 * (out * decay**k * drive).sum(1).real + (k == 0) * mixer.through.detach().numpy()
        np.testing.assert_allclose(found[k], expected, rtol=1e-9, atol=1e-12)


def test_poles_start_where_the_source_says():
    n = np.arange(4)
    np.testing.assert_allclose(first_poles("lin", 4).numpy(), -0.5 + 1j * np.pi * n, rtol=1e-6)
    np.testing.assert_allclose(first_poles("inv", 4).numpy(), -0.5 + 1j * 8 / np.pi * (8 / (2 * n + 1) - 1), rtol=1e-6)
    np.testing.assert_allclose(first_poles("real", 4).numpy(), -(n + 1.0))


def test_the_selective_state_space_follows_its_equations():
    """Algorithm 2 of the source, with its convolution and gate, in loops."""
    mixer = made(Mamba, state=3).layers[0].mixer
    x = torch.randn(1, 7, 6, dtype=torch.float64)
    found = mixer(x, {name: part.double() for name, part in mixer.initial_state(1).items()})[0][0].detach().numpy()
    w = {name: weight.detach().numpy() for name, weight in mixer.named_parameters()}

    def silu(v):
        return v / (1 + np.exp(-v))

    both = x[0].numpy() @ w["into.weight"].T
    before, z = np.split(both, 2, axis=1)
    padded = np.concatenate((np.zeros((3, 12)), before))
    h = np.zeros((12, 3))
    for t in range(7):
        u = np.array([silu(padded[t : t + 4, e] @ w["taps"][e] + w["shift"][e]) for e in range(12)])
        rate, into, read = np.split(w["select.weight"] @ u, [mixer.rank, mixer.rank + 3])
        dt = np.log1p(np.exp(w["rate.weight"] @ rate + w["rate.bias"]))
        for e in range(12):
            h[e] = np.exp(-dt[e] * np.exp(w["log_decay"][e])) * h[e] + dt[e] * into * u[e]
        y = h @ read + w["through"] * u
        np.testing.assert_allclose(found[t], w["out.weight"] @ (y * silu(z[t])), rtol=1e-9, atol=1e-12)


def test_steps_of_mamba_start_log_uniform_between_a_thousandth_and_a_tenth():
    mixer = Mamba(SPEC, hidden_size=256, layers=1).layers[0].mixer
    steps = torch.nn.functional.softplus(mixer.rate.bias)
    assert steps.min().item() == pytest.approx(1e-3, rel=0.1)
    assert steps.max().item() == pytest.approx(0.1, rel=0.1)
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.3)


@pytest.mark.parametrize("kind", [S4D, Mamba])
def test_what_stands_beyond_the_end_changes_nothing(kind):
    spec = TaskSpec("words", Tokens(5, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = kind(spec, hidden_size=8).eval()
    inputs, lengths = torch.randint(5, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 4
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(inputs[:1, :4]), model(inputs, lengths)[:1], rtol=1e-4, atol=1e-5)


def test_weights_and_state_are_as_many_as_it_says():
    def count(model):
        return sum(weight.numel() for weight in model.layers[0].mixer.parameters())

    f, n = 8, 5
    assert count(S4D(SPEC, hidden_size=f, poles=n)) == f * (4 * n + 2) + 2 * f * (f + 1)
    assert S4D(SPEC, hidden_size=f, layers=3, poles=n).state_size == 3 * 2 * f * n
    e, k, r = 3 * f, 4, 1
    weights = 3 * f * e + e * (k + 1) + e * (r + 2 * n) + e * (r + 1) + e * n + e
    assert count(Mamba(SPEC, hidden_size=f, expansion=3, state=n)) == weights
    assert Mamba(SPEC, hidden_size=f, expansion=3, state=n).state_size == 2 * e * (n + k - 1)


@pytest.mark.parametrize("kind", [S4D, Mamba])
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
        (S4D, {"poles": 0}, "poles is 0"),
        (S4D, {"dt": (0.1, 0.001)}, r"dt is \[0.1, 0.001\]"),
        (S4D, {"dt": (0.0, 0.1)}, r"dt is \[0.0, 0.1\]"),
        (S4D, {"hidden_size": -1}, "hidden_size is -1"),
        (Mamba, {"state": 0}, "state is 0"),
        (Mamba, {"convolution": 0}, "convolution is 0"),
        (Mamba, {"expansion": 0}, "expansion is 0"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, message):
    with pytest.raises(UserError, match=message):
        kind(SPEC, **options)

"""Linear attention and xLSTM: fast forms against steps, and steps against the papers' equations."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.deltanet import DeltaNet
from rnnae_bench.models.gla import GLA
from rnnae_bench.models.xlstm import MLSTM, SLSTM
from rnnae_bench.recurrence import delta_rule, exponential_gates, gated_attention

SPEC = TaskSpec("numbers", Vectors(3, 10), Values(2), "every step", causal=True)
MEMORIES = (DeltaNet, GLA, MLSTM)
SIZES = {"heads": 2, "keys": 3, "values": 5}
MODELS = {
    "deltanet": (DeltaNet, SIZES),
    "deltanet, negative": (DeltaNet, {**SIZES, "negative_eigenvalues": True}),
    "gla": (GLA, {**SIZES, "rank": 2, "temperature": 1.0}),
    "mlstm": (MLSTM, {**SIZES, "convolution": 0}),
    "deltanet, convolution": (DeltaNet, {**SIZES, "convolution": 4}),
    "gla, convolution": (GLA, {**SIZES, "convolution": 2}),
    "mlstm, convolution": (MLSTM, {**SIZES, "convolution": 4}),
    "slstm": (SLSTM, {"heads": 2}),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(kind, **options):
    """A model in float64 whose every weight counts."""
    model = kind(SPEC, hidden_size=6, **options).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5) if weight.dim() > 1 else weight.data.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize(
    ("name", "time"), [*product(MODELS, (1, 2, 63)), *product(("deltanet", "gla", "mlstm"), (1000,))]
)
def test_all_steps_at_once_are_the_loop(name, time):
    """Outputs, gradients of inputs and weights, and the final state, from a state that is not zero."""
    kind, options = MODELS[name]
    model = made(kind, layers=1 if time == 1000 else 2, **options)
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    start = unroll(model.step, model.initial_state(2), torch.randn(2, 3, 3, dtype=torch.float64))[1]
    ways = (model.resume(inputs, start), unroll(model.step, start, inputs))
    weights = torch.randn(ways[0][0].shape, dtype=torch.float64)
    wanted = [inputs, *model.layers.parameters()]
    gradients = [torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True) for outputs, _ in ways]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-9, atol=1e-9)
    for (one_name, one), (other_name, other) in zip(*(parts_of(state) for _, state in ways), strict=True):
        assert one_name == other_name
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def sigma(v):
    return 1 / (1 + np.exp(-v))


def affine(layer, x):
    mapped = x @ layer.weight.detach().numpy().T
    return mapped if layer.bias is None else mapped + layer.bias.detach().numpy()


def centred(layer, x):
    """What a layer norm makes of x."""
    away = x - x.mean(-1, keepdims=True)
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()
    return away / np.sqrt((away**2).mean(-1, keepdims=True) + 1e-5) * layer.weight.detach().numpy() + bias


def scaled(layer, x):
    """What a norm by the mean square makes of x."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * layer.weight.detach().numpy()


def delta_head(mixer, u, head):
    """What one head reads at every step, from the equations."""
    q, k, v = of_head(mixer, u, head)
    beta = 2 * sigma(affine(mixer.rate, u))[:, head]
    q, k = (part * sigma(part) for part in (q, k))
    q, k = (part / np.sqrt((part**2).sum(-1, keepdims=True) + 1e-6) for part in (q, k))
    memory, read = np.zeros((k.shape[1], v.shape[1])), []
    for t in range(len(u)):
        memory = (np.eye(len(memory)) - beta[t] * np.outer(k[t], k[t])) @ memory + beta[t] * np.outer(k[t], v[t])
        read.append(memory.T @ q[t])
    return scaled(mixer.norm, np.stack(read))


def gated_head(mixer, u, head):
    q, k, v = of_head(mixer, u, head)
    alpha = sigma(affine(mixer.widen, affine(mixer.narrow, u)))[:, 3 * head : 3 * head + 3] ** (1 / mixer.temperature)
    memory, read = np.zeros((k.shape[1], v.shape[1])), []
    for t in range(len(u)):
        memory = np.diag(alpha[t]) @ memory + np.outer(k[t], v[t])
        read.append(memory.T @ q[t] / math.sqrt(3))
    gate = affine(mixer.gate, u)[:, 5 * head : 5 * head + 5]
    return gate * sigma(gate) * scaled(mixer.norm, np.stack(read))


def matrix_head(mixer, u, head):
    """Without the stabiliser."""
    q, k, v = of_head(mixer, u, head, convolved(mixer.convolution, u))
    i, f = np.exp(affine(mixer.input_gate, u))[:, head], sigma(affine(mixer.forget_gate, u))[:, head]
    c, n, read = np.zeros((v.shape[1], k.shape[1])), np.zeros(k.shape[1]), []
    for t in range(len(u)):
        c = f[t] * c + i[t] * np.outer(v[t], k[t] / math.sqrt(3))
        n = f[t] * n + i[t] * k[t] / math.sqrt(3)
        read.append(c @ q[t] / max(abs(n @ q[t]), 1))
    return sigma(affine(mixer.output_gate, u)[:, 5 * head : 5 * head + 5]) * scaled(mixer.norm, np.stack(read))


def convolved(convolution, u):
    """silu of the convolution with zeros in front, step by step."""
    weight, bias = (part.detach().numpy() for part in (convolution.weight, convolution.bias))
    mixed = np.zeros_like(u)
    for t in range(len(u)):
        mixed[t] = bias + sum(weight[-1 - j] * u[t - j] for j in range(len(weight)) if t >= j)
    return mixed * sigma(mixed)


def of_head(mixer, u, head, seen=None):
    q, k = (affine(part, u if seen is None else seen)[:, 3 * head : 3 * head + 3] for part in (mixer.query, mixer.key))
    return q, k, affine(mixer.value, u)[:, 5 * head : 5 * head + 5]


def scalar_head(mixer, u, head):
    """Without the stabiliser."""
    read = affine(mixer.read, u)[:, 12 * head : 12 * head + 12]
    recurrent, bias = mixer.recurrent.detach().numpy()[head], mixer.bias.detach().numpy()[head].ravel()
    h, c, n, states = np.zeros(3), np.zeros(3), np.zeros(3), []
    for t in range(len(u)):
        i, f, z, o = np.split(read[t] + h @ recurrent + bias, 4)
        c = sigma(f) * c + np.exp(i) * np.tanh(z)
        n = sigma(f) * n + np.exp(i)
        h = sigma(o) * c / n
        states.append(h)
    return centred(mixer.norm, np.stack(states))


@pytest.mark.parametrize(
    ("name", "of_one_head"),
    [
        ("deltanet, negative", delta_head),
        ("gla", gated_head),
        ("mlstm, convolution", matrix_head),
        ("slstm", scalar_head),
    ],
)
def test_a_model_follows_its_papers_equations(name, of_one_head):
    kind, options = MODELS[name]
    model = made(kind, feedforward=0, **options)
    inputs = torch.randn(1, 20, 3, dtype=torch.float64)
    x = affine(model.enter, inputs[0].numpy())
    for layer in model.layers:
        u = centred(layer.norm, x)
        x = x + affine(
            layer.mixer.write, np.concatenate([of_one_head(layer.mixer, u, head) for head in (0, 1)], axis=-1)
        )
    expected = affine(model.head.affine, centred(model.leave, x))
    np.testing.assert_allclose(model(inputs)[0].detach().numpy(), expected, rtol=1e-7, atol=1e-9)


def test_a_memory_of_orthogonal_keys_holds_the_last_value_of_each():
    keys, values = torch.eye(4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    written = keys[[0, 1, 2, 3, 1, 0]]
    ones = torch.ones(6, 1, dtype=torch.float64)
    _, memory = delta_rule.chunked(written, written, values, ones, torch.zeros(4, 3, dtype=torch.float64), size=4)
    torch.testing.assert_close(memory, values[[5, 4, 2, 3]])


def test_steps_of_two_turn_the_sign_and_so_count_ones_modulo_two():
    """S_T = (-1)^(number of ones) S_0: parity in one number, over any length."""
    bits = torch.randint(2, (8, 500, 1))
    key = torch.ones(8, 500, 1, dtype=torch.float64)
    start = torch.ones(8, 1, 1, dtype=torch.float64)
    _, turned = delta_rule.chunked(key, key, 0 * key, 2.0 * bits, start)
    torch.testing.assert_close(turned.flatten(), (-1.0) ** bits.sum(1).flatten().double())


@pytest.mark.parametrize(("negative", "lowest"), [(False, 0.0), (True, -1.0)])
def test_eigenvalues_are_in_their_range(negative, lowest):
    model = DeltaNet(SPEC, hidden_size=16, heads=4, keys=5, negative_eigenvalues=negative)
    inputs = 100 * torch.randn(64, 16)
    _, k, _, beta = model.layers[0].mixer.written(inputs, inputs)
    steps = torch.eye(5) - beta.unsqueeze(-1) * k.unsqueeze(-1) * k.unsqueeze(-2)
    eigenvalues = torch.linalg.eigvalsh(steps.detach())
    assert eigenvalues.min() == pytest.approx(lowest, abs=1e-3)
    assert eigenvalues.max() == pytest.approx(1.0, abs=1e-3)


def test_gated_attention_without_decay_is_linear_attention():
    q, k, v = (torch.randn(2, 50, size, dtype=torch.float64) for size in (4, 4, 3))
    outputs, memory = gated_attention.chunked(q, k, v, 0 * k, torch.zeros(2, 4, 3, dtype=torch.float64))
    torch.testing.assert_close(outputs, (q @ k.mT).tril() @ v)
    torch.testing.assert_close(memory, k.mT @ v)


def test_the_steepest_decay_overflows_not_in_single_precision():
    """Nor does a sequence that alternates between forgetting all and forgetting nothing."""
    decays = torch.full((2, 40, 4), gated_attention.STEEPEST)
    decays[1, ::3] = 0.0
    decays.requires_grad_()
    q, k, v = torch.randn(2, 40, 4), torch.randn(2, 40, 4), torch.randn(2, 40, 3)
    start = torch.randn(2, 4, 3)
    outputs, _ = gated_attention.chunked(q, k, v, decays, start)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), decays)
    assert gradient.isfinite().all()
    state, exact = start.double(), []
    for t in range(40):
        o, state = gated_attention.step(*(part[:, t].double() for part in (q, k, v, decays)), state)
        exact.append(o)
    torch.testing.assert_close(outputs.double(), torch.stack(exact, dim=1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [-300.0, 0.0, 300.0])
def test_exponential_gates_overflow_not_in_single_precision(level):
    i = (level + 50 * torch.randn(2, 90, 1)).requires_grad_()
    q, k, v = torch.randn(2, 90, 4), torch.randn(2, 90, 4), torch.randn(2, 90, 3)
    log_forget = nn.functional.logsigmoid(torch.randn(2, 90, 1))
    empty = torch.zeros(2, 4, 3), torch.zeros(2, 4), torch.zeros(2, 1)
    outputs, _ = exponential_gates.matrix_chunked(q, k, v, i, log_forget, empty)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), i)
    assert gradient.isfinite().all()
    state, exact = tuple(part.double() for part in empty), []
    for t in range(90):
        h, state = exponential_gates.matrix_step(*(part[:, t].double() for part in (q, k, v, i, log_forget)), state)
        exact.append(h)
    torch.testing.assert_close(outputs.double(), torch.stack(exact, dim=1), rtol=1e-3, atol=1e-3)


def test_scalar_gates_overflow_not_in_single_precision():
    model = SLSTM(SPEC, hidden_size=8).eval()
    with torch.no_grad():
        for layer in model.layers:
            layer.mixer.read.weight.mul_(300)
    inputs = torch.randn(2, 50, 3, requires_grad=True)
    model(inputs).square().sum().backward()
    assert all(part.grad.isfinite().all() for part in (inputs, *model.parameters()))


@pytest.mark.parametrize("kind", [*MEMORIES, SLSTM])
def test_what_stands_beyond_the_end_changes_nothing(kind):
    spec = TaskSpec("words", Tokens(5, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = kind(spec, hidden_size=8).eval()
    inputs, lengths = torch.randint(5, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 4
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    torch.testing.assert_close(model(inputs[:1, :4]), model(inputs, lengths)[:1])


@pytest.mark.parametrize(
    ("kind", "options", "numbers", "weights"),
    [
        (DeltaNet, SIZES, 2 * 3 * 5, 2 * 8 * 2 * (3 + 5) + 8 * 2 + 5),
        (GLA, {**SIZES, "rank": 4}, 2 * 3 * 5, 2 * 8 * 2 * 3 + 3 * 8 * 2 * 5 + 8 * 4 + 5 * 2 * 3 + 5),
        (DeltaNet, {**SIZES, "convolution": 3}, 2 * 3 * 5 + 2 * 8, 2 * 8 * 2 * (3 + 5) + 8 * 2 + 5 + 4 * 8),
        (MLSTM, SIZES, 2 * (3 * 5 + 3 + 1) + 3 * 8, 2 * 8 * 2 * (3 + 5) + 2 * 9 * 2 + 9 * 2 * 5 + 5 + 5 * 8),
        (SLSTM, {"heads": 2}, 4 * 8, 5 * 64 + 4 * 64 // 2 + 4 * 8 + 4),
    ],
)
def test_state_and_weights_are_as_many_as_the_card_says(kind, options, numbers, weights):
    model = kind(SPEC, hidden_size=8, layers=3, **options)
    assert model.state_size == 3 * numbers
    assert sum(weight.numel() for weight in model.layers[0].mixer.parameters()) == weights


@pytest.mark.parametrize("kind", [*MEMORIES, SLSTM])
def test_half_precision_comes_near(kind):
    model = kind(SPEC, hidden_size=16).eval()
    inputs = torch.randn(2, 50, 3)
    with torch.no_grad():
        exact = model(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(inputs)
    assert (near.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("kind", [*MEMORIES, SLSTM])
def test_seeds_can_be_trained_as_one(kind):
    models = [kind(SPEC, hidden_size=8, layers=1) for _ in range(3)]
    assert models[0].stackable() is None
    inputs = torch.randn(3, 2, 20, 3)
    alone = torch.stack([model(one) for model, one in zip(models, inputs, strict=True)])
    torch.testing.assert_close(kind.stack(models)(inputs), alone, rtol=1e-4, atol=1e-5)


def test_a_scalar_memory_can_be_probed_from_its_first_step():
    """No singular value of the first Jacobian is 0 for the numbers that are kept."""
    mixer = SLSTM(SPEC, hidden_size=4, layers=1, heads=1).layers[0].mixer.double()
    state = {name: part.double() for name, part in mixer.initial_state(1).items()}
    inputs = torch.randn(1, 4, dtype=torch.float64)

    def kept(c):
        return mixer.step(inputs, {**state, "c": c})[1]["c"]

    jacobian = torch.autograd.functional.jacobian(kept, state["c"]).squeeze()
    assert (jacobian.diagonal() > 1e-4).all()


def test_forget_gates_start_as_in_the_papers():
    first, second = (layer.mixer.bias[0, 1] for layer in SLSTM(SPEC, hidden_size=10, heads=1).layers)
    units = torch.arange(10) / 9
    torch.testing.assert_close(first, 5 - 12 * units**0.3)
    torch.testing.assert_close(second, 5 - 12 * units**1.6)
    torch.testing.assert_close(
        MLSTM(SPEC, heads=4).layers[0].mixer.forget_gate.bias, torch.tensor([3.0, 4.0, 5.0, 6.0])
    )


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        *(
            (kind, {name: 0}, f"{name} is 0")
            for kind in MEMORIES
            for name in ("hidden_size", "heads", "keys", "values")
        ),
        (GLA, {"temperature": 0.0}, "temperature is 0.0"),
        (GLA, {"rank": -1}, "rank is -1"),
        (GLA, {"convolution": 1}, "convolution is 1"),
        (MLSTM, {"convolution": -4}, "convolution is -4"),
        (DeltaNet, {"feedforward": -2}, "feedforward is -2"),
        (SLSTM, {"heads": 0}, "heads is 0"),
        (SLSTM, {"hidden_size": 10, "heads": 4}, "hidden_size is 10 with 4 heads"),
        (MLSTM, {"dropout": 1.5}, "dropout is 1.5"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, message):
    with pytest.raises(UserError, match=message) as refusal:
        kind(SPEC, **options)
    assert "\n" not in str(refusal.value)

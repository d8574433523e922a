"""The temporal convolutional network: its receptive field by perturbation, its equations in loops, step by step."""

import numpy as np
import pytest
import torch

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.temporal_convolution import TemporalConvolution, needed_levels, receptive_field


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def spec(length):
    return TaskSpec("numbers", Vectors(3, length), Values(2), "every step", causal=True)


@pytest.mark.parametrize("time", [1, 2, 63, 300])
def test_all_steps_at_once_are_the_loop(time):
    """Outputs, gradients of inputs and weights, and the final state, from a state that is not zero."""
    model = TemporalConvolution(spec(40), channels=4, kernel=3).double()
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    start = unroll(model.step, model.initial_state(2), torch.randn(2, 5, 3, dtype=torch.float64))[1]
    ways = (model.resume(inputs, start), unroll(model.step, start, inputs))
    weights = torch.randn(ways[0][0].shape, dtype=torch.float64)
    wanted = [inputs, *model.levels.parameters()]
    gradients = [torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True) for outputs, _ in ways]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-9, atol=1e-9)
    for (name, one), (same, other) in zip(*(parts_of(state) for _, state in ways), strict=True):
        assert name == same
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_a_level_follows_its_equations():
    model = TemporalConvolution(spec(30), channels=4, kernel=3).double()
    x = torch.randn(1, 12, 3, dtype=torch.float64)
    h = x[0].numpy()
    for place, level in enumerate(model.levels):
        read = h
        for one in (level.first, level.second):
            direction, length, bias = (w.detach().numpy() for w in (one.direction, one.length, one.bias))
            norms = np.sqrt((direction**2).sum((1, 2)))
            weight = direction / norms[:, None, None] * length[:, None, None]
            out = np.zeros((12, 4))
            for t in range(12):
                for tap in range(3):
                    then = t - (2 - tap) * 2**place
                    if then >= 0:
                        out[t] += weight[:, :, tap] @ read[then]
            read = np.maximum(out + bias, 0)
        beside = h
        if place == 0:
            beside = h @ level.beside.weight.detach().numpy()[:, :, 0].T + level.beside.bias.detach().numpy()
        h = np.maximum(read + beside, 0)
    np.testing.assert_allclose(model.states(x)[0].detach().numpy(), h, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kernel", "levels"), [(2, 3), (3, 2), (5, 1)])
def test_an_output_sees_as_many_steps_as_it_says(kernel, levels):
    steps = receptive_field(kernel, levels)
    model = TemporalConvolution(spec(steps), channels=4, kernel=kernel, levels=levels).double()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, 0.1, 1.0)
    inputs = torch.rand(1, steps + 5, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.states(inputs)[0, -1].sum(), inputs)
    seen = gradient[0].abs().sum(1) > 0
    assert seen.tolist() == [False] * 5 + [True] * steps


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 40, 784])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_as_many_levels_as_are_needed(kernel, steps):
    levels = needed_levels(kernel, steps)
    assert receptive_field(kernel, levels) >= steps
    assert levels == 1 or receptive_field(kernel, levels - 1) < steps
    assert len(TemporalConvolution(spec(steps), channels=2, kernel=kernel).levels) == levels


def test_what_stands_beyond_the_end_changes_nothing():
    words = TaskSpec("words", Tokens(5, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = TemporalConvolution(words, channels=8).eval()
    inputs, lengths = torch.randint(5, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 4
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))


def test_weights_and_state_are_as_many_as_it_says():
    c, k, f, levels = 4, 3, 3, 3
    model = TemporalConvolution(spec(29), channels=c, kernel=k)
    assert len(model.levels) == levels
    first, *others = (sum(weight.numel() for weight in level.parameters()) for level in model.levels)
    assert first == c * (f * k + c * k + 4) + c * (f + 1)
    assert others == [c * (2 * c * k + 4)] * 2
    assert model.state_size == (k - 1) * ((f + c) + 2 * c * (2**levels - 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"levels": 2, "kernel": 3},
            "levels is 2 with kernel 3: an output sees 13 steps, and the task has 40; 4 levels see 61",
        ),
        ({"levels": 0}, "levels is 0"),
        ({"kernel": 1}, "kernel is 1; it must be at least 2"),
        ({"channels": 0}, "channels is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        TemporalConvolution(spec(40), **options)

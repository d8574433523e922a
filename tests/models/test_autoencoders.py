"""The autoencoders against their equations, their sizes in closed form, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.conv_autoencoder import ConvAutoencoder
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def images(channels=1, height=28, width=28):
    shape = Images(channels, height, width)
    return TaskSpec("images", shape, shape, "every step", causal=False)


def parameters(model):
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 27, 13), (2, 4, 7)])
@pytest.mark.parametrize("kind", [DenseAutoencoder, ConvAutoencoder])
def test_shapes_at_any_height_and_width(kind, shape):
    model = kind(images(*shape), code_size=9)
    inputs = torch.rand(5, *shape)
    code = model.encode(inputs)
    assert code.shape == (5, 9)
    assert model.state_size == 9
    prediction = model(inputs)
    assert prediction.shape == inputs.shape
    assert torch.equal(prediction, model.decode(code))
    assert prediction.min() > 0
    assert prediction.max() < 1


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh)])
def test_dense_follows_its_equations(activation, function):
    model = DenseAutoencoder(images(2, 3, 4), code_size=3, hidden_sizes=(7, 5), activation=activation).double()
    for weight in model.parameters():
        nn.init.normal_(weight)
    inputs = torch.rand(6, 2, 3, 4, dtype=torch.float64)
    weights = [weight.detach().numpy() for weight in model.parameters()]
    assert [weight.shape for weight in weights[::2]] == [(7, 24), (5, 7), (3, 5), (5, 3), (7, 5), (24, 7)]
    h = inputs.numpy().reshape(6, 24)
    layers = list(zip(weights[::2], weights[1::2], strict=True))
    for number, (w, b) in enumerate(layers):
        h = h @ w.T + b
        h = function(h) if number < 5 else 1 / (1 + np.exp(-h))
        if number == 2:
            np.testing.assert_allclose(model.encode(inputs).detach().numpy(), h, rtol=1e-12)
    np.testing.assert_allclose(model(inputs).detach().numpy(), h.reshape(6, 2, 3, 4), rtol=1e-12)


def slow_convolution(image, weights, bias):
    """A 4 x 4 convolution with stride 2 and padding 1, pixel by pixel."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    height, width = image.shape[1] // 2, image.shape[2] // 2
    answer = np.empty((len(weights), height, width))
    for row in range(height):
        for column in range(width):
            patch = padded[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            answer[:, row, column] = (weights * patch).sum((1, 2, 3)) + bias
    return answer


def slow_transposed_convolution(image, weights, bias, height, width):
    """Its mirror image: every pixel stamps its 4 x 4 weights, two pixels apart, onto a padded canvas."""
    canvas = np.zeros((weights.shape[1], height + 4, width + 4))
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            stamp = np.tensordot(image[:, row, column], weights, axes=1)
            canvas[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += stamp
    return canvas[:, 1 : 1 + height, 1 : 1 + width] + bias[:, None, None]


def test_conv_follows_its_equations():
    model = ConvAutoencoder(images(2, 7, 9), code_size=4, channels=(3, 5), activation="tanh").double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    image = torch.rand(1, 2, 7, 9, dtype=torch.float64)
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5, w6, b6 = (weight.detach().numpy() for weight in model.parameters())
    h = np.tanh(slow_convolution(image[0].numpy(), w1, b1))
    h = np.tanh(slow_convolution(h, w2, b2))
    assert h.shape == (5, 1, 2)
    code = w3 @ h.ravel() + b3
    np.testing.assert_allclose(model.encode(image)[0].detach().numpy(), code, rtol=1e-10)
    h = np.tanh(w4 @ code + b4).reshape(5, 1, 2)
    h = np.tanh(slow_transposed_convolution(h, w5, b5, 3, 4))
    h = slow_transposed_convolution(h, w6, b6, 7, 9)
    np.testing.assert_allclose(model(image)[0].detach().numpy(), 1 / (1 + np.exp(-h)), rtol=1e-10)


def test_parameter_counts():
    pixels = 28 * 28
    assert parameters(DenseAutoencoder(images())) == (pixels + 1) * 256 + (256 + 1) * pixels
    deep = DenseAutoencoder(images(), code_size=10, hidden_sizes=(50, 20))
    encoder = (pixels + 1) * 50 + 51 * 20 + 21 * 10
    assert parameters(deep) == encoder + 11 * 20 + 21 * 50 + 51 * pixels
    conv = ConvAutoencoder(images(), code_size=10, channels=(4, 6))
    flat = 6 * 7 * 7
    encoder = (1 * 16 * 4 + 4) + (4 * 16 * 6 + 6) + (flat + 1) * 10
    assert parameters(conv) == encoder + 11 * flat + (6 * 16 * 4 + 4) + (4 * 16 * 1 + 1)


@pytest.mark.parametrize("hidden_sizes", [(), (30,)])
def test_code_is_a_bottleneck(hidden_sizes):
    """Before the last sigmoid, linear decoding of a code of 4 numbers cannot leave 4 dimensions."""
    model = DenseAutoencoder(images(1, 6, 6), code_size=4, hidden_sizes=hidden_sizes, activation="tanh").double()
    model.decoder = nn.Sequential(*[layer for layer in model.decoder if not isinstance(layer, nn.Tanh)])
    logits = torch.logit(model(torch.rand(50, 1, 6, 6, dtype=torch.float64))).flatten(1)
    assert torch.linalg.matrix_rank(logits - logits.mean(0), rtol=1e-9) == 4


@pytest.mark.parametrize(("activation", "gain"), [("relu", math.sqrt(2)), ("tanh", 5 / 3)])
def test_initialisation_is_glorot_with_the_gain_of_the_activation(activation, gain):
    dense = DenseAutoencoder(images(), code_size=64, hidden_sizes=(32,), activation=activation)
    conv = ConvAutoencoder(images(), code_size=64, channels=(8, 16), activation=activation)
    gains = {dense: [gain, gain, gain, 1.0], conv: [gain, gain, 1.0, gain, gain, 1.0]}
    for model, expected in gains.items():
        weights = [weight for name, weight in model.named_parameters() if name.endswith("weight")]
        assert not any(weight.any() for name, weight in model.named_parameters() if name.endswith("bias"))
        for weight, factor in zip(weights, expected, strict=True):
            fans = (weight.shape[0] + weight.shape[1]) * weight[0, 0].numel()
            bound = factor * math.sqrt(6 / fans)
            assert 0.97 * bound < weight.abs().max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("kind", [DenseAutoencoder, ConvAutoencoder])
def test_every_weight_learns_and_the_error_falls_below_that_of_the_mean_image(kind):
    model = kind(images(1, 9, 10))
    clean = (torch.rand(16, 1, 9, 10) > 0.7).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        error = (model(clean) - clean).square().mean()
        error.backward()
        if step == 0:
            assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
    assert error < 0.5 * clean.var(0, correction=0).mean()


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        (DenseAutoencoder, {"code_size": 0}, "code_size is 0"),
        (DenseAutoencoder, {"hidden_sizes": (8, 0)}, r"hidden_sizes is \[8, 0\]"),
        (ConvAutoencoder, {"code_size": -1}, "code_size is -1"),
        (ConvAutoencoder, {"channels": (0,)}, r"channels is \[0\]"),
        (ConvAutoencoder, {"channels": (2,) * 5}, "5 convolutions halve"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, setting, message):
    with pytest.raises(UserError, match=message) as refusal:
        kind(images(), **setting)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [DenseAutoencoder, ConvAutoencoder])
def test_support(kind):
    assert kind.supports(images(3, 9, 5)) is None
    tokens = TaskSpec("words", Tokens(5, 7), Classes(4), "last step", causal=True)
    assert "reconstructs images" in kind.supports(tokens)
    scores = TaskSpec("digits", Images(1, 28, 28), Values(2), "last step", causal=False)
    assert "2 real numbers" in kind.supports(scores)
    with pytest.raises(UserError, match="cannot serve task 'words'"):
        kind(tokens)


def test_conv_needs_two_pixels_for_each_halving():
    assert ConvAutoencoder.supports(images(1, 28, 4)) is None
    assert "halve images of 1x28x3 pixels" in ConvAutoencoder.supports(images(1, 28, 3))
    assert ConvAutoencoder.supports(images(1, 28, 3), channels=(4,)) is None
    assert ConvAutoencoder.supports(images(1, 16, 16), channels=(2, 2, 2, 2)) is None


def sequences(**options):
    return TaskSpec("windows", Vectors(3, 5), Values(3), "every step", causal=False, **options)


def test_dense_reads_a_sequence_as_one_vector():
    model = DenseAutoencoder(sequences(code_limit=4), code_size=4, hidden_sizes=(6,)).double()
    inputs = torch.randn(7, 5, 3, dtype=torch.float64)
    flat = DenseAutoencoder(TaskSpec("rows", Static(15), Values(15), "last step", causal=False), 4, (6,)).double()
    flat.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(inputs), flat(inputs.flatten(1)).view(7, 5, 3))
    assert torch.equal(model.encode(inputs), flat.encode(inputs.flatten(1)))


def test_dense_reads_sequences_of_one_length_only():
    assert DenseAutoencoder.supports(sequences()) is None
    assert "end at different steps" in DenseAutoencoder.supports(sequences(variable_length=True))
    assert "the task allows 4" in DenseAutoencoder.supports(sequences(code_limit=4), code_size=5)
    assert "reconstructs images" in ConvAutoencoder.supports(sequences())

"""Keras' layers take the exam, and say what the suite's own models say when they have the same weights."""

import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from rnnae_bench_keras.dense_autoencoder import KerasDenseAutoencoder
from rnnae_bench_keras.recurrent import KerasGRU, KerasRNN

from rnnae_bench import Images, Static, TaskSpec, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU, RNN
from rnnae_bench.testing import check_model

close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
SERIES = TaskSpec("series", Vectors(3, length=7), Values(2), "every step", causal=True)


@pytest.mark.parametrize(
    ("model", "task"), [(KerasRNN, "copy:smoke"), (KerasGRU, "adding:smoke"), (KerasDenseAutoencoder, "denoise:smoke")]
)
def test_exam(model, task):
    assert check_model(model, task) is None


def test_double_precision_is_refused_which_keras_would_not_compute_in():
    model = KerasRNN(SERIES)
    model.trainer = SimpleNamespace(precision="64-true")
    with pytest.raises(UserError, match="32 bits at most"):
        model.on_fit_start()
    states = model.recurrence.double()(torch.zeros(1, 7, 3, dtype=torch.double))
    assert states.dtype == torch.float32


def test_nobody_is_told_which_backend_this_package_wants():
    assert "KERAS_BACKEND" not in os.environ


def weights_of_rnn(own: RNN) -> list[torch.Tensor]:
    """The weights in Keras' order and form: kernel, recurrent kernel and bias, of which Keras has one."""
    layer = own.recurrence
    return [layer.weight_ih_l0.T, layer.weight_hh_l0.T, layer.bias_ih_l0 + layer.bias_hh_l0]


def by_gates(weight: torch.Tensor) -> torch.Tensor:
    """From torch's gates r, z, n to those of Keras: z, r, n."""
    r, z, n = weight.chunk(3)
    return torch.cat((z, r, n))


def weights_of_gru(own: GRU) -> list[torch.Tensor]:
    """The weights in Keras' order and form; there are two biases, side by side."""
    layer = own.recurrence
    biases = torch.stack([by_gates(layer.bias_ih_l0), by_gates(layer.bias_hh_l0)])
    return [by_gates(layer.weight_ih_l0).T, by_gates(layer.weight_hh_l0).T, biases]


@pytest.mark.parametrize(
    ("own_class", "model_class", "form"), [(RNN, KerasRNN, weights_of_rnn), (GRU, KerasGRU, weights_of_gru)]
)
def test_recurrences_equal_ours(own_class, model_class, form):
    torch.manual_seed(0)
    own, model = own_class(SERIES, hidden_size=5), model_class(SERIES, hidden_size=5)
    for weight in own.parameters():
        torch.nn.init.normal_(weight)
    own_weights, layer = form(own), model.recurrence.cell
    theirs = [layer.kernel.value, layer.recurrent_kernel.value, layer.bias.value]
    with torch.no_grad():
        for one, two in zip(theirs, own_weights, strict=True):
            one.copy_(two)
        model.head.load_state_dict(own.head.state_dict())
    inputs, factor = torch.randn(4, 7, 3), torch.randn(4, 7, 2)
    close(model(inputs), own(inputs))
    (model(inputs) * factor).sum().backward()
    # Of the sum of torch's biases the gradient is that of either.
    wanted = torch.autograd.grad((own(inputs) * factor).sum(), list(own.recurrence.parameters()))
    named = dict(zip((name for name, _ in own.recurrence.named_parameters()), wanted, strict=True))
    own.zero_grad()
    if own_class is RNN:
        gradients = [named["weight_ih_l0"].T, named["weight_hh_l0"].T, named["bias_ih_l0"]]
    else:
        biases = torch.stack([by_gates(named["bias_ih_l0"]), by_gates(named["bias_hh_l0"])])
        gradients = [by_gates(named["weight_ih_l0"]).T, by_gates(named["weight_hh_l0"]).T, biases]
    for one, two in zip(theirs, gradients, strict=True):
        close(one.grad, two)


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("pictures", Images(1, 4, 5), Images(1, 4, 5), "every step", causal=False),
        TaskSpec("rows", Static(6), Values(6), "last step", causal=False),
    ],
    ids=["images", "vectors"],
)
def test_the_autoencoder_equals_ours(spec):
    torch.manual_seed(0)
    own = DenseAutoencoder(spec, code_size=3, hidden_sizes=(4,))
    model = KerasDenseAutoencoder(spec, code_size=3, hidden_sizes=(4,))
    for weight in own.parameters():
        torch.nn.init.normal_(weight)
    affine = [one for one in own.modules() if isinstance(one, torch.nn.Linear)]
    dense = [one for part in (model.encoder, model.decoder) for one in part if hasattr(one, "kernel")]
    assert len(affine) == len(dense) == 4
    with torch.no_grad():
        for one, two in zip(dense, affine, strict=True):
            one.kernel.value.copy_(two.weight.T)
            one.bias.value.copy_(two.bias)
    inputs = torch.rand(4, *((1, 4, 5) if isinstance(spec.inputs, Images) else (6,)))
    factor = torch.randn_like(inputs)
    close(model.encode(inputs), own.encode(inputs))
    close(model(inputs), own(inputs))
    for one in (model, own):
        (one(inputs) * factor).sum().backward()
    for one, two in zip(dense, affine, strict=True):
        close(one.kernel.value.grad, two.weight.grad.T)
        close(one.bias.value.grad, two.bias.grad)


def test_weights_follow_torchs_generator():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        cell = KerasGRU(SERIES, hidden_size=4).recurrence.cell
        drawn.append(torch.cat([cell.kernel.value, cell.recurrent_kernel.value]))
    assert torch.equal(drawn[0], drawn[1])
    assert not (drawn[0] == drawn[2]).any()
    kernel, recurrent = drawn[0].split((3, 4))
    close(recurrent @ recurrent.T, torch.eye(4))
    assert kernel.abs().max() <= (6 / (3 + 12)) ** 0.5

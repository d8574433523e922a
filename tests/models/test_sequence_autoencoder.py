"""The sequence autoencoder against PyTorch's own layers, and what it refuses."""

import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.sequence_autoencoder import RecurrentAutoencoder


def windows(**options):
    return TaskSpec("windows", Vectors(2, 9), Values(2), "every step", causal=False, code_limit=5, **options)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_follows_its_equations(cell, backwards):
    torch.manual_seed(0)
    model = RecurrentAutoencoder(windows(), hidden_size=6, cell=cell, backwards=backwards).double()
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    reader, writer = kind(2, 6, batch_first=True).double(), kind(5, 6, batch_first=True).double()
    reader.load_state_dict(model.reader.state_dict())
    writer.load_state_dict(model.writer.state_dict())
    inputs = torch.randn(3, 9, 2, dtype=torch.float64)
    code = model.squeeze(reader(inputs)[0][:, -1])
    start = model.start(code).tanh().unsqueeze(0)
    state = (start, torch.zeros_like(start)) if cell == "lstm" else start
    written = writer(code.unsqueeze(1).expand(-1, 9, -1), state)[0]
    expected = model.head(written.flip(1) if backwards else written)
    torch.testing.assert_close(model(inputs), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.code(inputs), code)
    assert model.state_size == 5


def test_the_number_of_weights():
    n, f, k = 6, 2, 5
    model = RecurrentAutoencoder(windows(), hidden_size=n)
    recurrences = sum(weight.numel() for part in (model.reader, model.writer) for weight in part.parameters())
    others = k * (n + 1) + n * (k + 1) + f * (n + 1)
    assert sum(weight.numel() for weight in model.parameters()) == recurrences + others


def test_what_is_refused():
    with pytest.raises(UserError, match="backwards is true"):
        RecurrentAutoencoder(windows(variable_length=True), backwards=True)
    with pytest.raises(UserError, match="hidden_size is 0"):
        RecurrentAutoencoder(windows(), hidden_size=0)
    assert "code has 6 numbers" in RecurrentAutoencoder.supports(windows(), code_size=6)

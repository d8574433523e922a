"""The encoder-decoder against its equations, on PyTorch's own layers; what it writes by itself; what it refuses."""

import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.encoder_decoder import Seq2Seq

WORDS = TaskSpec("words", Tokens(5, 7), Classes(4), "own length", False, variable_length=True, output_length=3)
NUMBERS = TaskSpec("numbers", Vectors(2, 6), Values(3), "own length", causal=False, output_length=4)


def in_torch(recurrence, cell):
    """The same recurrence as PyTorch's module."""
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
    found = kind(recurrence.input_size, recurrence.hidden_size, recurrence.num_layers, batch_first=True).double()
    found.load_state_dict(recurrence.state_dict())
    return found


def twin(model, cell, inputs, lengths, targets, outputs):
    """Row by row and step by step: without padding, fed with targets or with its own answers."""
    reader, writer = in_torch(model.encoder, cell), in_torch(model.decoder, cell)
    answers = []
    for row in range(len(inputs)):
        x = model.embedding(inputs)[row : row + 1, : None if lengths is None else lengths[row]].double()
        state = reader(x)[1]
        before, steps = torch.zeros(1, 1, model.feedback.features, dtype=x.dtype), []
        for step in range(outputs):
            output, state = writer(before, state)
            steps.append(model.head(output)[:, 0])
            if targets is not None:
                said = targets[row : row + 1, step]
            else:
                said = steps[-1].argmax(-1) if isinstance(model.spec.outputs, Classes) else steps[-1]
            before = model.feedback(said.unsqueeze(1)).to(x.dtype)
        answers.append(torch.stack(steps, dim=1))
    return torch.cat(answers)


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("lstm", 2), ("gru", 1)])
@pytest.mark.parametrize("spec", [WORDS, NUMBERS], ids=["words", "numbers"])
def test_it_follows_its_equations(spec, cell, layers, forced):
    torch.manual_seed(0)
    model = Seq2Seq(spec, hidden_size=6, layers=layers, cell=cell).double()
    if spec is WORDS:
        inputs, lengths, targets = torch.randint(5, (3, 7)), torch.tensor([7, 2, 4]), torch.randint(4, (3, 3))
    else:
        inputs, lengths, targets = torch.randn(3, 6, 2).double(), None, torch.randn(3, 4, 3).double()
    given = targets if forced else None
    found = model(inputs, lengths, targets=given)
    torch.testing.assert_close(
        found, twin(model, cell, inputs, lengths, given, spec.output_length), rtol=1e-9, atol=1e-9
    )
    assert model.state_size == 6 * layers * (2 if cell == "lstm" else 1)


def test_it_learns_to_say_a_word_backwards():
    torch.manual_seed(0)
    spec = TaskSpec("backwards", Tokens(3, 3), Classes(3), "own length", causal=False, output_length=3)
    model = Seq2Seq(spec, hidden_size=32)
    words = torch.cartesian_prod(*[torch.arange(3)] * 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(words, targets=words.flip(1)).transpose(1, 2), words.flip(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model(words).argmax(-1), words.flip(1))


def test_parameter_count():
    model = Seq2Seq(WORDS, hidden_size=6)
    reader, writer = 3 * 6 * (5 + 6 + 2), 3 * 6 * (4 + 6 + 2)
    assert sum(weight.numel() for weight in model.parameters()) == reader + writer + (6 + 1) * 4


@pytest.mark.parametrize(("options", "message"), [({"hidden_size": 0}, "hidden_size is 0"), ({"layers": -1}, "layers")])
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        Seq2Seq(WORDS, **options)


def test_it_serves_answers_of_their_own_length_alone():
    assert Seq2Seq.supports(WORDS) is None
    every = TaskSpec("words", Tokens(5, 7), Classes(4), "every step", causal=True)
    assert "own length" in Seq2Seq.supports(every)

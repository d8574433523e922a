"""Recurrences of torch.nn as stacks: the same numbers, the same weights."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence.conversion import from_torch, recordings_of, stack_call, watch
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.vanilla import RNN

KINDS = {
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}, RNN),
    "relu": (nn.RNN, {"nonlinearity": "relu"}, RNN),
    "lstm": (nn.LSTM, {}, LSTM),
    "gru": (nn.GRU, {}, GRU),
}
LENGTHS = torch.tensor([4, 6, 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", ["time first", "batch first", "packed"])
def test_the_stack_answers_as_the_module(kind, bias, layout):
    torch.manual_seed(0)
    make, options, expected_kind = KINDS[kind]
    options = {**options, "batch_first": layout == "batch first"}
    module = make(3, 5, num_layers=2, bias=bias, bidirectional=True, dtype=torch.float64, **options)
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    states = tuple(torch.randn(4, 3, 5, dtype=torch.float64) for _ in range(2 if kind == "lstm" else 1))
    hx = states if kind == "lstm" else states[0]
    if layout == "packed":
        packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        output, finals = module(packed, hx)
        output, call = pad_packed_sequence(output, batch_first=True)[0], (packed, hx)
    elif layout == "batch first":
        output, finals = module(x, hx)
        call = (x, hx)
    else:
        output, finals = module(x.transpose(0, 1), hx)
        output, call = output.transpose(0, 1), (x.transpose(0, 1), hx)
    stack = from_torch(module)
    assert type(stack) is expected_kind
    answer, answered_finals = stack(*stack_call(module, *call))
    torch.testing.assert_close(answer, output, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(answered_finals, finals if kind == "lstm" else (finals,), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_sequence_without_a_batch_axis_becomes_a_batch_of_one(batch_first):
    module = nn.GRU(3, 5, batch_first=batch_first)
    x, hx = torch.randn(6, 3), torch.randn(1, 5)
    answer, finals = from_torch(module)(*stack_call(module, x, hx))
    output, final = module(x, hx)
    torch.testing.assert_close(answer[0], output)
    torch.testing.assert_close(finals[0][:, 0], final)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_the_modules_own_and_state_dicts_load(kind):
    make, options, _ = KINDS[kind]
    module = make(3, 5, num_layers=2, dropout=0.5, **options).eval()
    stack = from_torch(module)
    assert {name: id(weight) for name, weight in stack.named_parameters()} == {
        name: id(weight) for name, weight in module.named_parameters()
    }
    assert not stack.training
    assert stack.dropout == 0.5
    other = make(3, 5, num_layers=2, **options)
    stack.load_state_dict(other.state_dict())
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(module(x)[0], other(x)[0], rtol=0, atol=0)


def test_absent_biases_are_zero_and_not_trained():
    stack = from_torch(nn.LSTM(3, 5, bias=False, dtype=torch.float64))
    assert not stack.bias_hh_l0.requires_grad
    assert stack.bias_ih_l0.dtype == torch.float64
    assert stack.bias_ih_l0.eq(0).all()


def test_converting_draws_no_random_number():
    module = nn.LSTM(3, 5)
    before = torch.get_rng_state()
    from_torch(module)
    assert torch.equal(before, torch.get_rng_state())


def test_what_has_no_stack_is_refused():
    with pytest.raises(UserError, match="projection"):
        from_torch(nn.LSTM(3, 5, proj_size=2))
    with pytest.raises(UserError, match="stack of their kind"):
        from_torch(nn.RNNBase("GRU", 3, 5))
    with pytest.raises(UserError, match="a parametrization"):
        from_torch(orthogonal(nn.GRU(3, 5), "weight_hh_l0"))


def watched(module, call):
    """A loss of all that the module returns, and the recording of that pass."""
    with watch(module) as recordings:
        sequence, finals = module(*call)
    (recording,) = recordings
    data = sequence.data if isinstance(sequence, PackedSequence) else sequence
    last = finals if isinstance(finals, tuple) else (finals,)
    assert data.grad_fn is not None
    return data.square().sum() + sum((one**3).sum() for one in last), recording, sequence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["time first", "batch first", "packed", "packed in order", "single"])
def test_a_watched_pass_is_as_if_a_stack_had_made_it(kind, layout):
    torch.manual_seed(0)
    make, options, _ = KINDS[kind]
    options = {**options, "batch_first": layout == "batch first", "num_layers": 2, "bidirectional": True}
    module = make(3, 5, dtype=torch.float64, **options)
    x, lengths = torch.randn(3, 6, 3, dtype=torch.float64), None
    if layout == "packed":
        lengths = LENGTHS
        call = (pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False),)
    elif layout == "packed in order":
        lengths = LENGTHS.sort(descending=True).values
        call = (pack_padded_sequence(x, lengths, batch_first=True),)
    elif layout == "single":
        x = x[:1]
        call = (x[0],)
    else:
        call = (x if layout == "batch first" else x.transpose(0, 1),)
    loss, recording, sequence = watched(module, call)
    expected = module(*call)[0]
    if lengths is not None:
        assert torch.equal(sequence.batch_sizes, expected.batch_sizes)
        assert (sequence.sorted_indices is None) == (layout == "packed in order")
        sequence, expected = sequence.data, expected.data
    torch.testing.assert_close(sequence, expected, rtol=0, atol=0)
    stack = from_torch(module)
    with stack.recording() as recordings:
        outputs, finals = stack(x, lengths)
    (own,) = recordings
    own_loss = outputs.square().sum() + sum((one**3).sum() for one in finals)
    for mine, theirs in zip(recording.roots, own.roots, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    loss.backward()
    gradients = torch.autograd.grad(own_loss, own.roots)
    found, known = recording.recover([*map(recording.gradients.get, range(len(gradients)))]), own.recover(gradients)
    assert found.keys() == known.keys() == {"l0", "l0_reverse", "l1", "l1_reverse"}
    for passage, states in known.items():
        for state, scaled in states.items():
            torch.testing.assert_close(found[passage][state].value(), scaled.value(), rtol=1e-10, atol=1e-13)


def test_watching_changes_nothing_and_ends():
    module, x = nn.GRU(3, 4, num_layers=2, dropout=0.5), torch.randn(5, 2, 3)
    torch.manual_seed(1)
    expected = module(x)[0]
    torch.manual_seed(1)
    with watch(module) as recordings:
        torch.testing.assert_close(module(x)[0], expected, rtol=0, atol=0)
    assert recordings == []  # dropout between the layers, whose masks nobody knows
    module.eval()
    with watch(module) as recordings:
        module(x)
        module(x)
    module(x)
    assert len(recordings) == 2


class Mixed(nn.Module):
    """A recurrence of torch.nn under one of this suite."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.GRU(3, 4, batch_first=True)
        self.above = nn.ModuleList([LSTM(4, 5)])

    def forward(self, x):
        return self.above[0](self.below(x, hx=None)[0])[0]


def test_every_recurrence_of_a_model_is_recorded():
    torch.manual_seed(0)
    model, x = Mixed(), torch.randn(2, 6, 3)
    with recordings_of(model) as recordings:
        answer = model(x)
    torch.testing.assert_close(answer, model(x), rtol=0, atol=0)
    assert {name: len(each) for name, each in recordings.items()} == {"below": 1, "above.0": 1}
    (below,), (above,) = recordings["below"], recordings["above.0"]
    torch.testing.assert_close(below.roots[0], model.below(x)[0])
    torch.testing.assert_close(above.layers[0][0].x, model.below(x)[0].transpose(0, 1))


def test_what_can_not_be_recorded_still_runs():
    model = orthogonal(nn.GRU(3, 4), "weight_hh_l0")
    with recordings_of(model) as recordings:
        assert model(torch.randn(5, 1, 3))[0].shape == (5, 1, 4)
    assert recordings == {}

"""Gradients recovered from a recording: against the kernel's by-product, the reference, and closed forms."""

import copy
import math
from fractions import Fraction
from itertools import product
from operator import itemgetter

import pytest
import torch
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence import reference
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.independent import IndRNN
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.recording import Recording, joined
from rnnae_bench.recurrence.recovery import backpropagate, on_a_logarithmic_scale
from rnnae_bench.recurrence.reset_before import ResetBeforeGRU
from rnnae_bench.recurrence.scaled import Scaled, add, normalized
from rnnae_bench.recurrence.stack import Stack
from rnnae_bench.recurrence.vanilla import RNN, VanillaTape

KINDS = {
    "tanh": (RNN, {"activation": "tanh"}),
    "relu": (RNN, {"activation": "relu"}),
    "identity": (RNN, {"activation": "identity"}),
    "gru": (GRU, {}),
    "lstm": (LSTM, {}),
    "modrelu": (RNN, {"activation": "modrelu"}),
    "reset_before": (ResetBeforeGRU, {}),
    "peephole": (LSTM, {"forget": "coupled", "peepholes": True}),
    "independent": (IndRNN, {"bound": 1.05}),
}
FEATURES, HIDDEN, BATCH, STEPS = 3, 4, 3, 7
LENGTHS = ((7, 1, 4), (2, 7, 5))


pytestmark = pytest.mark.usefixtures("double")


def build(kind, **options) -> Stack:
    torch.manual_seed(0)
    made, more = KINDS[kind]
    stack = made(FEATURES, HIDDEN, **more, **options)
    for name, weight in stack.named_parameters():
        if name.startswith("peephole"):
            torch.nn.init.normal_(weight)
    return stack


def next_state(stack, x, state, weights) -> tuple[Tensor, ...]:
    """One step of the reference."""
    if isinstance(stack, LSTM):
        return reference.lstm_step(x, *state, weights)
    if isinstance(stack, GRU):
        return (reference.gru_step(x, *state, weights, "before" if isinstance(stack, ResetBeforeGRU) else "after"),)
    if isinstance(stack, IndRNN):
        return (reference.independent_step(x, *state, weights),)
    return (reference.rnn_step(x, *state, weights, stack.activation),)


def assert_close(found, expected, tolerance=1e-12) -> None:
    """Equal to a tolerance relative to the largest number."""
    assert found.shape == expected.shape
    scale = expected.abs().max()
    if scale == 0:
        assert not found.any()
    else:
        assert (found - expected).abs().max() / scale <= tolerance


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def one_by_one(stack, recording, x, state, steps, where, sequence) -> tuple[Tensor, tuple[Tensor, ...], dict]:
    """One sequence of one model alone, without padding, by a loop over the reference.

    Args:
        where: The model, as an index of the first axes.
        sequence: The sequence's place in the batch.

    Returns:
        Outputs ``[steps features]``, final states ``[places hidden]`` each, and by passage the states ``[1 hidden]``
        in the order of reading, h and for an LSTM c.
    """
    inputs, finals, states = x[where][sequence, :steps].unsqueeze(1), [], {}
    for depth, passages in enumerate(recording.layers):
        outputs = []
        for passage in passages:
            # The recorded weights are those that recurrent dropout left.
            weights = passage.weights.map(itemgetter(where))
            carried = tuple(one[where][len(finals), sequence : sequence + 1] for one in state)
            steps_of = states[passage.name] = [[] for _ in carried]
            for t, step in enumerate(inputs.flip(0) if passage.backward else inputs):
                if stack.window and t and t % stack.window == 0:
                    carried = tuple(one.detach() for one in carried)
                carried = next_state(stack, step, carried, weights)
                for kept, one in zip(steps_of, carried, strict=True):
                    kept.append(one)
            finals.append(carried)
            read = torch.stack(steps_of[0])
            outputs.append(read.flip(0) if passage.backward else read)
        inputs = torch.cat(outputs, dim=-1)
        mask = recording.masks[depth]
        if mask is not None:
            inputs = inputs * mask[where][:steps, sequence : sequence + 1]
    return inputs.squeeze(1), tuple(torch.cat(each) for each in zip(*finals, strict=True)), states


def check(kind, lengths=None, models=None, through=("outputs", "finals"), **options) -> Recording:
    """Recovered gradients against the reference, sequence by sequence, and against the by-product."""
    stack = build(kind, models=models, **options)
    lead = () if models is None else (models,)
    places = stack.num_layers * (2 if stack.bidirectional else 1)
    x = draw(*lead, BATCH, STEPS, FEATURES)
    state = tuple(draw(*lead, places, BATCH, HIDDEN) for _ in range(stack.states))
    if lengths is not None:
        lengths = torch.tensor(LENGTHS if models else LENGTHS[0])
    with stack.recording() as recordings:
        outputs, finals = stack(x, lengths, state)
    (recording,) = recordings
    roots = recording.roots
    assert roots == (outputs, *finals)
    directs = [torch.randn_like(root) if name in through else None for name, root in named(roots)]
    loss = sum((root * direct).sum() for root, direct in zip(roots, directs, strict=True) if direct is not None)
    loss.backward()
    assert recording.gradients.keys() == {place for place, direct in enumerate(directs) if direct is not None}
    assert all(torch.equal(recording.gradients[place], directs[place]) for place in recording.gradients)
    recovered = recording.recover(directs)
    assert recovered.keys() == {passage.name for layer in recording.layers for passage in layer}
    check_reference(stack, recording, x, state, directs, recovered)
    for passage in (passage for layer in recording.layers for passage in layer):
        left = passage.totals()
        if left is None:
            continue
        assert left.keys() == recovered[passage.name].keys()
        for name, total in left.items():
            assert_close(recovered[passage.name][name].value(), total)
    return recording


def named(roots):
    return zip(("outputs", *["finals"] * (len(roots) - 1)), roots, strict=True)


def check_reference(stack, recording, x, state, directs, recovered) -> None:
    models = [()] if stack.models is None else [(model,) for model in range(stack.models)]
    for where, sequence in product(models, range(BATCH)):
        steps = int(recording.steps[where][sequence])
        outputs, finals, states = one_by_one(stack, recording, x, state, steps, where, sequence)
        whole = recording.roots[0][where][sequence]
        assert_close(whole[:steps], outputs)
        assert not whole[steps:].any()
        loss = torch.zeros(())
        if directs[0] is not None:
            loss = loss + (outputs * directs[0][where][sequence, :steps]).sum()
        for final, root, direct in zip(finals, recording.roots[1:], directs[1:], strict=True):
            assert_close(root[where][:, sequence], final)
            if direct is not None:
                loss = loss + (final * direct[where][:, sequence]).sum()
        for name, each in states.items():
            assert len(recovered[name]) == len(each)
            for letter, kept in zip("hc", each, strict=False):
                found = recovered[name][letter].value()[where][:, sequence]
                assert_close(found[:steps], reference.deltas(loss, kept).squeeze(1))
                assert not found[steps:].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (2, False), (3, True)])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_recovers_what_the_kernel_and_autograd_give(kind, layers, bidirectional, lengths):
    recording = check(kind, lengths, num_layers=layers, bidirectional=bidirectional, backend="kernel")
    assert all(passage.totals() is not None for layer in recording.layers for passage in layer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("window", [1, 3])
def test_recovers_within_windows(kind, lengths, window):
    check(kind, lengths, num_layers=2, bidirectional=True, window=window, backend="kernel")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_recovers_through_dropout(kind, lengths):
    recording = check(
        kind, lengths, num_layers=3, bidirectional=True, dropout=0.4, recurrent_dropout=0.3, backend="kernel"
    )
    assert all(mask is not None and (mask == 0).any() for mask in recording.masks[:-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_recovers_several_models_at_once(kind, lengths):
    check(kind, lengths, models=2, num_layers=2, bidirectional=True, dropout=0.4, window=4)


@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm"])
@pytest.mark.parametrize("window", [0, 3])
def test_recovers_what_a_fused_recurrence_does_not_tell(kind, window):
    recording = check(kind, num_layers=2, bidirectional=True, dropout=0.4, window=window, backend="fused")
    assert all(passage.totals() is None for layer in recording.layers for passage in layer)


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("through", [("outputs",), ("finals",), ()])
def test_recovers_from_a_loss_of_some_roots_alone(kind, lengths, through):
    if through:
        check(kind, lengths, num_layers=2, bidirectional=True, through=through, backend="kernel")
        return
    stack = build(kind, num_layers=2)
    with stack.recording() as recordings:
        stack(draw(BATCH, STEPS, FEATURES))
    for states in recordings[0].recover([None] * (1 + stack.states)).values():
        assert all((one.log_norm == -torch.inf).all() for one in states.values())


def test_recovers_an_lstm_whose_final_cell_alone_is_read():
    stack, x = build("lstm", num_layers=2, backend="kernel"), draw(BATCH, STEPS, FEATURES)
    with stack.recording() as recordings:
        _, (_, cells) = stack(x, torch.tensor(LENGTHS[0]))
    direct = torch.randn_like(cells)
    (cells * direct).sum().backward()
    recovered = recordings[0].recover((None, None, direct))
    for (passage,) in recordings[0].layers:
        for name, total in passage.totals().items():
            assert_close(recovered[passage.name][name].value(), total)


def test_padding_of_the_outputs_gradient_does_not_count():
    stack, x = build("gru"), draw(BATCH, STEPS, FEATURES)
    with stack.recording() as recordings:
        outputs, _ = stack(x, torch.tensor(LENGTHS[0]))
    direct = torch.randn_like(outputs)
    spoilt = direct.clone()
    spoilt[1, 1:], spoilt[2, 4:] = torch.nan, 1e300
    clean, found = (recordings[0].recover((one, None))["l0"]["h"] for one in (direct, spoilt))
    assert torch.equal(clean.value(), found.value())


def test_a_pass_in_bfloat16_is_recovered_in_single_precision():
    stack, x = build("tanh").float(), torch.randn(BATCH, 200, FEATURES)
    direct = torch.zeros(BATCH, 200, HIDDEN)
    direct[:, -1] = 1.0
    with stack.recording() as recordings:
        stack(x)
        with torch.autocast("cpu", torch.bfloat16):
            stack(x)
    exact, found = (one.recover((direct, None))["l0"]["h"].log_norm for one in recordings)
    assert found.dtype == torch.float64
    # In bfloat16 itself a logarithm beyond -128 would be right to a whole number, and stand still from step to step.
    assert (exact[0] < -150).all()
    assert (found / exact - 1).abs()[:-20].max() < 0.01
    assert (found[:-1] != found[1:]).all()


def linear(w_hh: Tensor, steps: int) -> tuple[Stack, Recording, Tensor]:
    """A linear recurrence of these weights, run over noise, and dL/dy of a loss that reads the last step alone."""
    hidden = w_hh.shape[-1]
    stack = RNN(1, hidden, activation="identity").to(w_hh.dtype)
    with torch.no_grad():
        stack.weight_hh_l0.copy_(w_hh)
    with stack.recording() as recordings:
        outputs, _ = stack(torch.randn(2, steps, 1, dtype=w_hh.dtype))
    direct = torch.zeros_like(outputs)
    direct[:, -1] = torch.randn(2, hidden, dtype=w_hh.dtype)
    outputs.backward(direct)
    return stack, recordings[0], direct


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a", [1e-3, -1e-3, 0.5, 1e3])
def test_a_scalar_recurrence_of_784_steps_neither_underflows_nor_overflows(a, dtype):
    steps = 784
    _, recording, direct = linear(torch.tensor([[a]], dtype=dtype), steps)
    lags = torch.arange(steps - 1, -1, -1)[:, None]
    # What the weight holds is a rounded to its type.
    expected = direct[:, -1, 0].double().abs().log() + lags * math.log(abs(float(torch.tensor(a, dtype=dtype))))
    found = recording.recover((direct, None))["l0"]["h"].log_norm.double()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert ((found - expected).abs() <= tolerance * expected.abs().clamp_min(1)).all()
    # Ordinary numbers don't reach that far, but for the halving in float64.
    ordinary = recording.layers[0][0].totals()["h"][0]
    if abs(a) < 1 and (dtype, a) != (torch.float64, 0.5):
        assert not ordinary.any()
    if a > 1:
        assert not ordinary.isfinite().any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
def test_an_orthogonal_recurrence_is_flat(dtype, tolerance):
    torch.manual_seed(3)
    q = torch.linalg.qr(torch.randn(16, 16))[0].to(dtype)
    _, recording, direct = linear(q, 300)
    found = recording.recover((direct, None))["l0"]["h"].log_norm
    assert (found - direct[:, -1].norm(dim=-1).log()).abs().max() < tolerance


@pytest.mark.parametrize(("growth", "first"), [(0.9, 2.9513e-05), (1.1, 1.2528e04)])
def test_eigenvalues_near_one_over_100_steps(growth, first):
    torch.manual_seed(4)
    q = torch.linalg.qr(torch.randn(8, 8))[0]
    _, recording, direct = linear(growth * q, 100)
    found = recording.recover((direct, None))["l0"]["h"].log_norm.exp()
    ratio = found[0] / found[-1]
    assert (ratio / growth**99 - 1).abs().max() < 1e-11
    assert ratio[0].item() == pytest.approx(first, rel=1e-4)


def test_a_vanilla_network_of_100_steps_in_single_precision():
    torch.manual_seed(0)
    stack, x = RNN(10, 16).float(), torch.randn(4, 100, 10)

    def profile(stack, x):
        with stack.recording() as recordings:
            outputs, _ = stack(x)
        direct = torch.zeros_like(outputs)
        direct[:, -1] = 0.25
        outputs.backward(direct)
        left = recordings[0].layers[0][0].totals()["h"]
        return torch.linalg.vector_norm(left, dim=-1), recordings[0].recover((direct, None))["l0"]["h"].log_norm

    by_product, found = profile(stack, x.float())
    exact, expected = profile(copy.deepcopy(stack).double(), x)
    assert (by_product[0] == 0).all()
    assert (exact[0] > 0).all()
    assert (expected - exact.log()).abs().max() < 1e-10
    assert (found - expected).abs().max() < 1e-3


def logarithm(number: Fraction) -> float:
    """ln |number|, of numbers outside the range of any float."""
    return math.log(abs(number.numerator)) - math.log(number.denominator) if number else -math.inf


@pytest.mark.parametrize("a", [0.0, 1e-12, -1e-3, 0.75, 1e6])
@pytest.mark.parametrize(
    "directs",
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [1e-300, 0.0, 0.0, 1e-200, 0.0, 0.0, 0.0, 0.0, 1.0],
        [1e300, 1e-300, 1e300, 1e-300, 0.0, 1e300, -1e-300, 1.0, 1e-300],
        [0.0, 0.0, 1e-30, 1e-25, 0.0, 0.0, 0.0, 0.0, 0.0],
        [5e-324, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5e-324],
        [0.0, -1e20, 1.0, 1e-20, 1e-40, 1e-60, 1e-80, 1e-100, 1.7e308],
    ],
)
def test_direct_gradients_of_any_size_are_added_up_exactly(a, directs):
    """delta_t = direct_t + a delta_(t+1), in rational numbers."""
    stack = RNN(1, 1, activation="identity")
    with torch.no_grad():
        stack.weight_hh_l0.fill_(a)
    # Beside an ordinary sequence: each must keep its own scale.
    direct = torch.tensor([directs, [1.0] * len(directs)]).unsqueeze(-1)
    with stack.recording() as recordings:
        stack(torch.zeros_like(direct))
    found = recordings[0].recover((direct, None))["l0"]["h"]
    for sequence in range(2):
        delta = Fraction(0)
        for t in range(len(directs) - 1, -1, -1):
            delta = Fraction(direct[sequence, t].item()) + Fraction(a) * delta
            sign = (delta > 0) - (delta < 0)
            assert found.mantissa[t, sequence].sign().item() == sign
            assert found.log_norm[t, sequence].item() == pytest.approx(logarithm(delta), rel=1e-12, abs=1e-12)


TINY, HUGE = 5e-324, 1.7e308
VECTORS = [
    [0.0, 0.0],
    [1.0, -2.0],
    [TINY, 0.0],
    [TINY, -TINY],
    [1e-310, 3e-320],
    [HUGE, -HUGE],
    [HUGE, TINY],
    [1e-200, 1e-180],
    [-1.0, 2.0],
]


def exactly(vector, scale=0) -> list[Fraction]:
    return [Fraction(number) * Fraction(10) ** scale for number in vector]


def scaled(vector, scale=0) -> Scaled:
    """The vector times a power of ten, which may lead out of the range of any float."""
    return normalized(torch.tensor([vector]), torch.tensor([scale * math.log(10)]))


def log_norm(numbers) -> float:
    return logarithm(sum(number**2 for number in numbers)) / 2


@pytest.mark.parametrize("vector", VECTORS)
def test_scaled_vectors_are_the_vectors(vector):
    found = Scaled.of(torch.tensor([vector]))
    assert found.log_norm.item() == pytest.approx(log_norm(exactly(vector)), rel=1e-14, abs=1e-14)
    expected = torch.tensor([vector])
    assert torch.allclose(found.value(), expected, rtol=1e-12, atol=TINY)
    assert found.mantissa.abs().max() == (1 if any(vector) else 0)


@pytest.mark.parametrize(("one", "other"), [*product(VECTORS, repeat=2)])
@pytest.mark.parametrize("scale", [0, -5000, 5000])
def test_sums_of_scaled_vectors(one, other, scale):
    mine, theirs = scaled(one, scale), scaled(other, scale)
    total = [a + b for a, b in zip(exactly(one, scale), exactly(other, scale), strict=True)]
    expected = log_norm(total)
    for found in (add(mine, theirs), add(theirs, mine)):
        # The scale itself is a float: of 11,513 = ln 10^5000 its rounding is 1e-12.
        assert found.log_norm.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
        for place, number in enumerate(total):
            sign = (number > 0) - (number < 0)
            # A component too small beside the largest one may be lost, but never with the wrong sign.
            assert found.mantissa[0, place].sign().item() in (sign, 0)


def test_adding_what_is_beyond_all_floats_changes_nothing():
    one, other = scaled([1.0, -2.0], 400), scaled([3.0, 4.0], -400)
    assert add(one, other).log_norm.item() == one.log_norm.item()
    assert torch.equal(add(one, other).mantissa, one.mantissa)


def test_rows_have_scales_of_their_own():
    rows = torch.tensor([[1e-300, 0.0], [0.0, 0.0], [3e300, 4e300]])
    found = Scaled.of(rows)
    assert found.log_norm.tolist() == pytest.approx([math.log(1e-300), -math.inf, math.log(5e300)], rel=1e-14)
    doubled = found.map(found.mantissa * 2)
    assert doubled.log_norm.tolist() == pytest.approx(
        [math.log(2e-300), -math.inf, math.log(2) + math.log(5e300)], rel=1e-14
    )


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_not_finite_stays(bad):
    found = Scaled.of(torch.tensor([[1.0, bad], [1.0, 1.0]]))
    both = add(found, Scaled.of(torch.ones(2, 2)))
    for one in (found, both):
        assert not one.log_norm[0].isfinite()
        assert one.log_norm[1].isfinite()
        assert not one.value()[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("a", [1e-30, 1e-12, 1e10, 1e25])
def test_extreme_factors_get_a_scale_for_every_step(a, dtype):
    """Steps that share a scale would leave the range of single precision."""
    one = torch.ones(1, 1, dtype=dtype)
    tape = VanillaTape(torch.ones(40, 2, 1, dtype=dtype), one, a * one)
    direct = torch.zeros(40, 2, 1, dtype=dtype)
    direct[-1] = 1.0
    found = backpropagate(tape, Scaled.unscaled(direct)).totals["h"].log_norm.to(dtype)
    expected = math.log(a) * torch.arange(39, -1, -1, dtype=dtype).unsqueeze(-1).expand(40, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("a", "last", "repeated"), [(0.5, 1.0, False), (0.0, 0.0, False), (1e-12, 1.0, True), (1e12, 1.0, True)]
)
def test_only_what_leaves_the_ordinary_range_is_repeated(a, last, repeated, monkeypatch):
    """Zeros that nothing has reached are right as they are."""
    calls = []

    def record(*arguments):
        calls.append(arguments)
        return on_a_logarithmic_scale(*arguments)

    monkeypatch.setattr("rnnae_bench.recurrence.recovery.on_a_logarithmic_scale", record)
    tape = VanillaTape(torch.ones(9, 2, 1), torch.ones(1, 1), torch.tensor([[a]]))
    direct = torch.zeros(9, 2, 1)
    direct[-2] = last
    found = backpropagate(tape, Scaled.unscaled(direct)).totals["h"].log_norm
    assert bool(calls) == repeated
    expected = [math.log(a) * (7 - t) if last and t <= 7 else -math.inf for t in range(9)]
    assert found[:, 1].tolist() == pytest.approx(expected, abs=1e-12)


def in_pieces(stack, x, *sizes):
    """One pass a piece, each from the state that the last one left: all outputs and final states."""
    state, outputs, finals = None, [], []
    for piece in x.split(sizes, dim=1):
        output, state = stack(piece, state=state)
        outputs.append(output)
        finals.append(state)
    return outputs, finals


@pytest.mark.parametrize("kind", KINDS)
def test_passes_over_pieces_of_a_sequence_are_joined(kind):
    """Against autograd with every state kept, where the loss reads outputs and the states between the pieces."""
    stack, x = build(kind, backend="kernel"), draw(BATCH, STEPS, FEATURES)
    reads = [torch.randn(1, BATCH, HIDDEN) for _ in range(STEPS)]
    with stack.recording() as recordings:
        outputs, finals = in_pieces(stack, x, 2, 4, 1)
    output, ends = torch.cat(outputs, dim=1), (1, 5, 6)
    loss = sum((output[:, t] * read).sum() for t, read in enumerate(reads))
    loss = loss + sum((one * reads[t]).sum() for t, state in zip(ends, finals, strict=True) for one in state)
    loss.backward()
    whole = joined(recordings)
    weights, start = stack.weights_of("l0"), torch.zeros(BATCH, HIDDEN)
    steps, state = [], (start,) * stack.states
    for one in x.unbind(1):
        state = next_state(stack, one, state, weights)
        steps.append(state)
    kept = [*zip(*steps, strict=True)]
    loss = sum((state * read[0]).sum() for state, read in zip(kept[0], reads, strict=True))
    loss = loss + sum((each[t] * reads[t][0]).sum() for t in ends for each in kept)
    recovered, left = whole.recover()["l0"], whole.layers[0][0].totals()
    assert recovered.keys() == left.keys()
    for name, states in zip(recovered, kept, strict=True):
        expected = reference.deltas(loss, states)
        assert_close(recovered[name].value(), expected)
        assert_close(left[name], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_several_layers_are_joined_too(kind):
    stack, x, read = (
        build(kind, num_layers=3, dropout=0.5),
        draw(BATCH, STEPS, FEATURES),
        torch.randn(BATCH, STEPS, HIDDEN),
    )
    stack.eval()
    found = []
    for sizes in ((STEPS,), (3, 1, 3)):
        with stack.recording() as recordings:
            outputs, _ = in_pieces(stack, x, *sizes)
        (torch.cat(outputs, dim=1) * read).sum().backward()
        found.append(joined(recordings).recover())
    for name, states in found[0].items():
        for letter, one in states.items():
            assert_close(found[1][name][letter].value(), one.value())


def test_passes_that_are_not_pieces_of_one_sequence_are_refused():
    stack, x = build("gru"), draw(BATCH, STEPS, FEATURES)
    with stack.recording() as recordings:
        _, state = stack(x)
        stack(x, state=tuple(one.detach() for one in state))
    with pytest.raises(UserError, match="2 times in a forward pass, and not each time with the very state"):
        joined(recordings)
    with stack.recording() as recordings:
        _, state = stack(x, torch.tensor(LENGTHS[0]))
        stack(x, state=state)
    with pytest.raises(UserError, match="different length"):
        joined(recordings)
    stack = build("gru", window=2)
    with stack.recording() as recordings:
        in_pieces(stack, x, 3, 4)
    with pytest.raises(UserError, match="window"):
        joined(recordings)

"""Stacks of recurrences against torch.nn and against loops over the reference."""

import copy
import pickle
from itertools import product
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence import reference
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.stack import Stack
from rnnae_bench.recurrence.vanilla import RNN

KINDS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
TOLERANCE = 1e-12
FEATURES, HIDDEN, BATCH, STEPS = 3, 5, 4, 9
LENGTHS = (9, 1, 4, 7)


pytestmark = pytest.mark.usefixtures("double")


def build(kind, **options) -> Stack:
    torch.manual_seed(1)
    return KINDS[kind](FEATURES, HIDDEN, **options)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def start(stack, batch=BATCH, models=()) -> tuple[Tensor, ...]:
    places = stack.num_layers * (2 if stack.bidirectional else 1)
    return tuple(draw(*models, places, batch, HIDDEN) for _ in range(stack.states))


def weighted(outputs, directs) -> Tensor:
    return torch.stack([(one * direct).sum() for one, direct in zip(outputs, directs, strict=True)]).sum()


def assert_close(found, expected, tolerance=TOLERANCE) -> None:
    """Equal to a tolerance relative to the largest number in each tensor."""
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert mine.shape == theirs.shape, place
        error = (mine - theirs).abs().max() / theirs.abs().max()
        assert error <= tolerance, f"tensor {place} is off by {error:.1e}"


def torch_twin(kind, **options) -> nn.RNNBase:
    torch.manual_seed(1)
    return getattr(nn, kind)(FEATURES, HIDDEN, batch_first=True, **options)


def run_torch(module, x, lengths, state) -> list[Tensor]:
    """Outputs and final states."""
    given = state if len(state) == 2 else state[0]
    if lengths is None:
        outputs, finals = module(x, given)
    else:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, finals = module(packed, given)
        outputs = pad_packed_sequence(outputs, batch_first=True)[0]
    return [outputs, *(finals if len(state) == 2 else (finals,))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "bidirectional"), [*product((1, 2), (False, True))])
@pytest.mark.parametrize(
    ("backend", "lengths"),
    [("auto", None), ("auto", LENGTHS), ("kernel", None), ("kernel", LENGTHS), ("fused", None)],
)
def test_agrees_with_torch(kind, layers, bidirectional, backend, lengths):
    theirs = torch_twin(kind, num_layers=layers, bidirectional=bidirectional)
    mine = build(kind, num_layers=layers, bidirectional=bidirectional, backend=backend)
    mine.load_state_dict(theirs.state_dict())
    lengths = None if lengths is None else torch.tensor(lengths)
    x, state = draw(BATCH, STEPS, FEATURES), start(mine)
    expected = run_torch(theirs, x, lengths, state)
    outputs, finals = mine(x, lengths, state)
    found = [outputs, *finals]
    assert_close(found, expected)
    directs = [torch.randn_like(one) for one in expected]
    leaves = [x, *state]
    assert_close(
        torch.autograd.grad(weighted(found, directs), [*leaves, *mine.parameters()]),
        torch.autograd.grad(weighted(expected, directs), [*leaves, *theirs.parameters()]),
    )
    without = run_torch(theirs, x, lengths, tuple(torch.zeros_like(one) for one in state))
    assert_close([mine(x, lengths)[0]], without[:1])


@pytest.mark.parametrize("backend", ["kernel", "fused"])
def test_relu_agrees_with_torch(backend):
    theirs, mine = torch_twin("RNN", nonlinearity="relu"), build("RNN", activation="relu", backend=backend)
    x = draw(BATCH, STEPS, FEATURES)
    expected, found = theirs(x)[0], mine(x)[0]
    assert_close([found], [expected])
    direct = torch.randn_like(expected)
    assert_close(
        torch.autograd.grad((found * direct).sum(), [x, *mine.parameters()]),
        torch.autograd.grad((expected * direct).sum(), [x, *theirs.parameters()]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_load_both_ways_and_the_same_seed_gives_the_same_weights(kind):
    options = {"num_layers": 2, "bidirectional": True}
    theirs, mine = torch_twin(kind, **options), build(kind, **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(one, theirs.state_dict()[name]) for name, one in mine.state_dict().items())
    other = getattr(nn, kind)(FEATURES, HIDDEN, batch_first=True, **options)
    other.load_state_dict(mine.state_dict())
    assert all(torch.equal(one, other.state_dict()[name]) for name, one in mine.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_whatever_it_holds(kind):
    real = 6
    stack = build(kind, num_layers=2, bidirectional=True, backend="kernel")
    sequence = draw(1, real, FEATURES)
    # The loss reads the padding of the outputs too: its gradient must not get in.
    direct, last = torch.randn(1, STEPS, 2 * HIDDEN), torch.randn(stack.states, 4, 1, HIDDEN)

    def results(x, lengths):
        outputs, finals = stack(x, lengths)
        loss = weighted([outputs, *finals], [direct[:, : x.shape[1]], *last])
        return [outputs, *finals, *torch.autograd.grad(loss, [x, *stack.parameters()])]

    def padded(filling):
        tail = torch.full((1, STEPS - real, FEATURES), filling)
        x = torch.cat((sequence.detach(), tail), dim=1).requires_grad_()
        return results(x, torch.tensor([real]))

    found = padded(0.0)
    for filling in (1e30, float("inf"), float("nan")):
        assert all(torch.equal(one, other) for one, other in zip(padded(filling), found, strict=True)), filling
    place = 1 + stack.states
    outputs, gradient = found[0], found[place]
    assert not outputs[:, real:].any()
    assert not gradient[:, real:].any()
    found[0], found[place] = outputs[:, :real], gradient[:, :real]
    assert_close(found, results(sequence, None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, (LENGTHS, (1, 9, 9, 2), (3, 3, 5, 8))])
@pytest.mark.parametrize("learned_state", [False, True])
def test_a_stack_of_three_models_is_three_stacks(kind, lengths, learned_state):
    options = {"num_layers": 2, "bidirectional": True, "learned_state": learned_state}
    together, stacks = build(kind, models=3, **options), [build(kind, **options) for _ in range(3)]
    assert not torch.equal(together.weight_hh_l0[0], together.weight_hh_l0[1])
    with torch.no_grad():
        for weight in together.learned or ():
            weight.normal_()
        for model, alone in enumerate(stacks):
            for name, weight in together.named_parameters():
                alone.get_parameter(name).copy_(weight[model])
    lengths = None if lengths is None else torch.tensor(lengths)
    x = draw(3, BATCH, STEPS, FEATURES)
    outputs, finals = together(x, lengths)
    found = [outputs, *finals]
    directs = [torch.randn_like(one) for one in found]
    gradients = torch.autograd.grad(weighted(found, directs), [x, *together.parameters()])
    for model, alone in enumerate(stacks):
        outputs, finals = alone(x[model], None if lengths is None else lengths[model])
        assert_close([one[model] for one in found], [outputs, *finals])
        loss = weighted([outputs, *finals], [direct[model] for direct in directs])
        expected = torch.autograd.grad(loss, [x, *alone.parameters()])
        assert_close([one[model] for one in gradients], [expected[0][model], *expected[1:]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_of_models_takes_an_initial_state(kind):
    together, alone = build(kind, models=2), build(kind, backend="kernel")
    alone.load_state_dict({name: weight[1] for name, weight in together.state_dict().items()})
    x, state = draw(2, BATCH, STEPS, FEATURES), start(together, models=(2,))
    outputs, finals = together(x, None, state)
    expected = alone(x[1], None, tuple(one[1] for one in state))
    assert_close([outputs[1], *(one[1] for one in finals)], [expected[0], *expected[1]])


def took_kernel(stack, lengths=None) -> bool:
    """Whether a forward pass ran in a kernel, which leaves deltas."""
    x = draw(*(() if stack.models is None else (stack.models,)), BATCH, STEPS, FEATURES)
    with stack.recording() as recordings:
        stack(x, lengths)[0].sum().backward()
    left = [passage.totals() is not None for layer in recordings[0].layers for passage in layer]
    assert len(set(left)) == 1
    return left[0]


def test_auto_takes_the_faster_of_those_that_can():
    lengths = torch.tensor(LENGTHS)
    assert took_kernel(build("RNN"))
    assert took_kernel(build("GRU"))
    assert not took_kernel(build("LSTM"))
    assert took_kernel(build("LSTM"), lengths)
    assert took_kernel(build("LSTM", models=2))
    assert took_kernel(build("LSTM", backend="kernel"))
    assert not took_kernel(build("RNN", backend="fused"))
    assert not took_kernel(build("GRU", backend="fused"))


def test_on_a_gpu_auto_prefers_fused_where_there_is_one(monkeypatch):
    identity = build("RNN", activation="identity")
    stacks = [build(kind) for kind in KINDS]
    assert [stack.prefers_fused for stack in stacks] == [False, True, False]
    monkeypatch.setattr(Stack, "_first", SimpleNamespace(is_cuda=True))
    assert all(stack.prefers_fused for stack in stacks)
    assert not identity.prefers_fused


@pytest.mark.parametrize("backend", ["kernel", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_computes_in_bfloat16(kind, backend):
    stack = build(kind, num_layers=2, bidirectional=True, learned_state=True, backend=backend).float()
    x = torch.randn(BATCH, STEPS, FEATURES, dtype=torch.float32, requires_grad=True)
    leaves = [x, *stack.parameters()]
    expected, finals = stack(x)
    loss = expected.square().sum() + sum(one.sum() for one in finals)
    exact = torch.autograd.grad(loss, leaves)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, finals = stack(x)
        assert {one.dtype for one in (outputs, *finals)} == {torch.bfloat16}
        loss = outputs.float().square().sum() + sum(one.float().sum() for one in finals)
    assert loss.dtype == torch.float32
    gradients = torch.autograd.grad(loss, leaves)
    assert {one.dtype for one in gradients} == {torch.float32}
    # bfloat16 has eight bits: rounding is 2^-9, and some of them add up.
    assert_close([outputs.float()], [expected], tolerance=0.02)
    assert_close(gradients, exact, tolerance=0.05)


def test_autocast_leaves_float64_alone():
    stack, x = build("GRU"), draw(BATCH, STEPS, FEATURES)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = stack(x)
    assert torch.equal(outputs, stack(x)[0])


@pytest.mark.parametrize("backend", ["kernel", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_takes_the_type_of_its_weights_and_gradients_in_evaluation_too(kind, backend):
    stack = build(kind, backend=backend).float().eval()
    x, state = draw(BATCH, STEPS, FEATURES), start(stack)
    outputs, finals = stack(x, None, state)
    assert {one.dtype for one in (outputs, *finals)} == {torch.float32}
    found = torch.autograd.grad(outputs.square().sum(), [x, *state])
    double = build(kind, backend="kernel")
    expected = torch.autograd.grad(double(x, None, state)[0].square().sum(), [x, *state])
    assert_close(found, expected, tolerance=1e-5)


# Of dynamo's own making, as it takes up after a call that it leaves alone.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", [None, (30, 4)])
def test_torch_compile_gives_the_same_and_does_not_unroll_the_loop(kind, lengths, monkeypatch):
    # What checks the annotations while testing can't be compiled.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    operations = []

    def backend(graph, inputs):
        operations.append(len(graph.graph.nodes))
        return graph

    lengths = None if lengths is None else torch.tensor(lengths)
    stack, x = build(kind, num_layers=2, backend="kernel"), draw(2, 30, FEATURES)
    torch.compiler.reset()
    outputs, finals = torch.compile(stack, backend=backend)(x, lengths)
    leaves = [x, *stack.parameters()]
    found = torch.autograd.grad(outputs.square().sum() + sum(one.sum() for one in finals), leaves)
    expected, ends = stack(x, lengths)
    exact = torch.autograd.grad(expected.square().sum() + sum(one.sum() for one in ends), leaves)
    assert_close([outputs, *finals, *found], [expected, *ends, *exact])
    assert operations
    assert max(operations) < 30


class TestDropout:
    def test_masks_are_what_it_recorded_and_keep_the_mean(self):
        stack = build("GRU", num_layers=3, bidirectional=True, dropout=0.25)
        torch.manual_seed(0)
        x = draw(60, 40, FEATURES)
        with stack.recording() as recordings:
            outputs, _ = stack(x)
        below, middle, above = recordings[0].layers
        assert recordings[0].masks[2] is None
        for mask, lower, upper in zip(recordings[0].masks, (below, middle), (middle, above), strict=False):
            assert mask.shape == (40, 60, 2 * HIDDEN)
            assert set(mask.unique().tolist()) == {0.0, 1 / 0.75}
            # Five standard errors of the mean of 24,000 draws, each of variance p / (1 - p).
            assert abs(mask.mean() - 1) < 5 * (0.25 / 0.75 / mask.numel()) ** 0.5
            states = torch.cat((lower[0].states, lower[1].states.flip(0)), dim=-1)
            assert torch.equal(upper[0].x, states * mask)
        # The last layer's states go out as they are.
        assert torch.equal(outputs.transpose(0, 1)[..., :HIDDEN], above[0].states)
        assert not torch.equal(recordings[0].masks[0], recordings[0].masks[1])

    def test_is_off_in_evaluation(self):
        stack, plain = build("GRU", num_layers=2, dropout=0.5).eval(), build("GRU", num_layers=2)
        x = draw(BATCH, STEPS, FEATURES)
        with stack.recording() as recordings:
            outputs, _ = stack(x)
        assert recordings[0].masks == [None, None]
        assert torch.equal(outputs, plain(x)[0])
        assert not torch.equal(stack.train()(x)[0], outputs)


class TestRecurrentDropout:
    @pytest.mark.parametrize("models", [None, 2])
    def test_the_same_weights_are_missing_at_all_steps(self, models):
        stack = build("RNN", recurrent_dropout=0.25, models=models)
        lead = () if models is None else (models,)
        x = draw(*lead, BATCH, STEPS, FEATURES)
        with stack.recording() as recordings:
            outputs, _ = stack(x)
            again, _ = stack(x)
        assert not torch.equal(outputs, again)
        weights = recordings[0].layers[0][0].weights
        kept = weights.w_hh != 0
        assert_close([weights.w_hh], [torch.where(kept, stack.weight_hh_l0 / 0.75, 0.0)])
        assert 0 < (~kept).double().mean() < 0.5
        expected = torch.stack(reference.rnn(x.transpose(-3, -2), weights, torch.zeros(*lead, BATCH, HIDDEN)), dim=-2)
        assert_close([outputs], [expected])
        direct = torch.randn_like(outputs)
        gradient = torch.autograd.grad((outputs * direct).sum(), stack.weight_hh_l0)[0]
        assert torch.equal(gradient != 0, kept)

    def test_is_off_in_evaluation(self):
        stack, plain = build("LSTM", recurrent_dropout=0.5).eval(), build("LSTM")
        x = draw(BATCH, STEPS, FEATURES)
        assert torch.equal(stack(x)[0], plain(x)[0])
        assert not torch.equal(stack.train()(x)[0], plain(x)[0])


def truncated(stack, x, state, window) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A loop over the reference, layer by layer, that detaches what it carries every `window` steps."""
    sequence, finals = x.transpose(0, 1), []
    for layer in range(stack.num_layers):
        weights, carried, states = stack.weights_of(f"l{layer}"), tuple(one[layer] for one in state), []
        for t, step in enumerate(sequence):
            if t and t % window == 0:
                carried = tuple(one.detach() for one in carried)
            if isinstance(stack, LSTM):
                carried = reference.lstm_step(step, *carried, weights)
            elif isinstance(stack, GRU):
                carried = (reference.gru_step(step, *carried, weights),)
            else:
                carried = (reference.rnn_step(step, *carried, weights),)
            states.append(carried[0])
        sequence = torch.stack(states)
        finals.append(carried)
    return sequence.transpose(0, 1), tuple(torch.stack(each) for each in zip(*finals, strict=True))


class TestWindow:
    @pytest.mark.parametrize("backend", ["kernel", "fused"])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("window", [1, 3, 4, STEPS])
    def test_equals_a_loop_that_detaches(self, kind, window, backend):
        stack = build(kind, num_layers=2, window=window, backend=backend)
        x, state = draw(BATCH, STEPS, FEATURES), start(stack)
        outputs, finals = stack(x, None, state)
        expected, ends = truncated(stack, x, state, window)
        assert_close([outputs, *finals], [expected, *ends])
        directs = [torch.randn_like(one) for one in (expected, *ends)]
        leaves = [x, *state, *stack.parameters()]
        assert_close(
            torch.autograd.grad(weighted([outputs, *finals], directs), leaves),
            torch.autograd.grad(weighted([expected, *ends], directs), leaves),
        )

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("window", [STEPS, STEPS + 1, 1000])
    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    def test_as_long_as_the_sequence_is_no_window(self, kind, window, lengths):
        lengths = None if lengths is None else torch.tensor(lengths)
        whole, cut = build(kind, num_layers=2), build(kind, num_layers=2, window=window)
        x = draw(BATCH, STEPS, FEATURES)
        first, second = whole(x, lengths)[0], cut(x, lengths)[0]
        assert torch.equal(first, second)
        mine = torch.autograd.grad(second.square().sum(), [x, *cut.parameters()])
        theirs = torch.autograd.grad(first.square().sum(), [x, *whole.parameters()])
        assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))

    @pytest.mark.parametrize("backend", ["kernel", "fused"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_gradient_crosses_the_cut(self, kind, backend):
        whole = build(kind, num_layers=2, backend=backend)
        cut = build(kind, num_layers=2, backend=backend, window=4)
        x, state = draw(BATCH, STEPS, FEATURES), start(cut)
        outputs, _ = cut(x, None, state)
        assert_close([outputs], [whole(x, None, state)[0]])
        gradient, *first = torch.autograd.grad(outputs[:, 6].sum(), [x, *state], materialize_grads=True)
        assert not gradient[:, :4].any()
        assert gradient[:, 4:7].any(dim=-1).all()
        assert not any(one.any() for one in first)

    def test_of_a_reversed_reading_is_cut_in_its_own_order(self):
        # Five steps read from the end, in windows of two: 4 3 | 2 1 | 0, and padding after them.
        stack = build("GRU", bidirectional=True, window=2)
        x = draw(1, 7, FEATURES)
        outputs, _ = stack(x, torch.tensor([5]))
        gradient = torch.autograd.grad(outputs[:, 1, HIDDEN:].sum(), x)[0]
        assert gradient[0].any(dim=-1).tolist() == [False, True, True, False, False, False, False]

    @pytest.mark.parametrize("kind", KINDS)
    def test_carries_the_state_through_the_padding_of_others(self, kind):
        lengths = torch.tensor(LENGTHS)
        whole, cut = (
            build(kind, num_layers=2, bidirectional=True),
            build(kind, num_layers=2, bidirectional=True, window=3),
        )
        x = draw(BATCH, STEPS, FEATURES)
        expected, found = whole(x, lengths), cut(x, lengths)
        assert_close([found[0], *found[1]], [expected[0], *expected[1]])


class TestLearnedState:
    @pytest.mark.parametrize("kind", KINDS)
    def test_starts_at_zero_and_gets_the_gradient_of_the_initial_state(self, kind):
        options = {"num_layers": 2, "bidirectional": True, "backend": "kernel"}
        stack, plain = build(kind, learned_state=True, **options), build(kind, **options)
        assert [tuple(one.shape) for one in stack.learned] == [(4, 1, HIDDEN)] * stack.states
        assert not any(one.any() for one in stack.learned)
        x, state = draw(BATCH, STEPS, FEATURES), tuple(torch.zeros_like(one) for one in start(plain))
        outputs, _ = stack(x)
        assert torch.equal(outputs, plain(x)[0])
        for one in state:
            one.requires_grad_()
        found = torch.autograd.grad(outputs.square().sum(), list(stack.learned))
        expected = torch.autograd.grad(plain(x, None, state)[0].square().sum(), state)
        assert_close(found, [one.sum(dim=1, keepdim=True) for one in expected])

    def test_is_where_the_sequence_starts_unless_a_state_is_given(self):
        stack, plain = build("LSTM", learned_state=True), build("LSTM")
        for one in stack.learned:
            nn.init.normal_(one)
        x, state = draw(BATCH, STEPS, FEATURES), start(stack)
        learned = tuple(one.expand(1, BATCH, HIDDEN) for one in stack.learned)
        assert torch.equal(stack(x)[0], plain(x, None, learned)[0])
        assert torch.equal(stack(x, None, state)[0], plain(x, None, state)[0])


class TestRecording:
    def test_every_pass_leaves_one_and_none_when_it_is_over(self):
        stack, x = build("GRU"), draw(BATCH, STEPS, FEATURES)
        with stack.recording() as recordings:
            first, _ = stack(x)
            second, finals = stack(x, torch.tensor(LENGTHS))
        stack(x)
        assert recordings[0].roots[0] is first
        assert recordings[1].roots == (second, *finals)
        assert [one.steps.tolist() for one in recordings] == [[STEPS] * BATCH, list(LENGTHS)]

    def test_one_within_another(self):
        stack, x = build("GRU"), draw(BATCH, STEPS, FEATURES)
        with stack.recording() as outer:
            with stack.recording() as inner:
                stack(x)
            stack(x)
        assert (len(outer), len(inner)) == (2, 1)
        assert outer[0] is inner[0]

    def test_ends_with_an_error_too(self):
        stack, x = build("GRU"), draw(BATCH, STEPS, FEATURES)
        with pytest.raises(KeyError), stack.recording() as recordings:
            raise KeyError
        stack(x)
        assert recordings == []

    def test_changes_no_number_and_holds_no_graph_but_the_roots(self):
        stack, x = build("LSTM", num_layers=2, backend="kernel"), draw(BATCH, STEPS, FEATURES)
        plain = torch.autograd.grad(stack(x)[0].square().sum(), [x, *stack.parameters()])
        with stack.recording() as recordings:
            outputs, _ = stack(x)
        found = torch.autograd.grad(outputs.square().sum(), [x, *stack.parameters()])
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, plain, strict=True))
        for layer in recordings[0].layers:
            for passage in layer:
                held = (passage.x, passage.states, *passage.weights[:4], *passage.initial)
                assert not any(one.requires_grad for one in held)


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("GRU", {"num_layers": 0}, "num_layers is 0; it must be above 0"),
        ("GRU", {"dropout": 1.0}, "dropout is 1.0"),
        ("GRU", {"recurrent_dropout": -0.5}, "recurrent_dropout is -0.5"),
        ("GRU", {"window": -1}, "window is -1"),
        ("GRU", {"models": 0}, "models is 0"),
        ("GRU", {"backend": "cudnn"}, "backend is 'cudnn'; it must be one of auto, kernel, fused"),
        ("GRU", {"backend": "fused", "models": 2}, "use backend 'kernel'"),
        ("RNN", {"backend": "fused", "activation": "identity"}, "use backend 'kernel'"),
        ("RNN", {"activation": "sin"}, "activation is 'sin'; it must be one of tanh, relu, identity"),
    ],
)
def test_options_that_cannot_be(kind, options, words):
    # The annotations refuse some of these first, but only while testing.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        with pytest.raises(UserError) as caught:
            build(kind, **options)
    assert words in one_line(caught)


@pytest.mark.parametrize("size", ["input_size", "hidden_size"])
def test_sizes_that_cannot_be(size):
    with pytest.raises(UserError) as caught:
        GRU(**{"input_size": 3, "hidden_size": 5, size: 0})
    assert one_line(caught) == f"{size} is 0; it must be above 0"


@pytest.mark.parametrize(
    ("kind", "shapes", "words"),
    [
        ("LSTM", [(1, BATCH, HIDDEN)], "2 tensor(s) of shape (1, 4, 5), got (1, 4, 5)"),
        ("GRU", [(1, BATCH, HIDDEN)] * 2, "1 tensor(s) of shape (1, 4, 5), got (1, 4, 5), (1, 4, 5)"),
        ("GRU", [], "1 tensor(s) of shape (1, 4, 5), got nothing"),
        ("GRU", [(2, BATCH, HIDDEN)], "(1, 4, 5), got (2, 4, 5)"),
        ("GRU", [(1, 1, HIDDEN)], "(1, 4, 5), got (1, 1, 5)"),
        ("LSTM", [(1, BATCH, HIDDEN), (1, BATCH, HIDDEN + 1)], "got (1, 4, 5), (1, 4, 6)"),
    ],
)
def test_initial_states_of_the_wrong_shape(kind, shapes, words):
    with pytest.raises(UserError) as caught:
        build(kind)(draw(BATCH, STEPS, FEATURES), None, tuple(draw(*shape) for shape in shapes))
    assert words in one_line(caught)


@pytest.mark.parametrize(
    ("models", "shape", "lengths", "words"),
    [
        (None, (BATCH, STEPS, 2), None, "the shape [batch, time, 3] and at least one step, got (4, 9, 2)"),
        (None, (BATCH, 0, FEATURES), None, "at least one step, got (4, 0, 3)"),
        (None, (STEPS, FEATURES), None, "got (9, 3)"),
        (None, (2, BATCH, STEPS, FEATURES), None, "got (2, 4, 9, 3)"),
        (2, (BATCH, STEPS, FEATURES), None, "the shape [2, batch, time, 3] and at least one step, got (4, 9, 3)"),
        (2, (3, BATCH, STEPS, FEATURES), None, "got (3, 4, 9, 3)"),
        (None, (BATCH, STEPS, FEATURES), (9,), "need lengths of shape (4,), got (1,)"),
        (2, (2, BATCH, STEPS, FEATURES), (9, 1, 4, 7), "need lengths of shape (2, 4), got (4,)"),
    ],
)
def test_inputs_of_the_wrong_shape(models, shape, lengths, words, monkeypatch):
    stack = build("GRU", models=models)
    # The annotations refuse some of these first, but only while testing.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError) as caught:
        stack(draw(*shape), None if lengths is None else torch.tensor(lengths))
    assert words in one_line(caught)


def test_fused_recurrences_take_no_lengths():
    with pytest.raises(UserError) as caught:
        build("GRU", backend="fused")(draw(BATCH, STEPS, FEATURES), torch.tensor(LENGTHS))
    assert "use 'auto' or 'kernel'" in one_line(caught)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stack: pickle.loads(pickle.dumps(stack))])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles(kind, copied):
    stack, x = build(kind, num_layers=2, bidirectional=True, learned_state=True, window=4), draw(BATCH, STEPS, FEATURES)
    stack(x)[0].sum().backward()
    other = copied(stack)
    assert torch.equal(other(x)[0], stack(x)[0])
    with other.recording() as recordings:
        stack(x)
    assert recordings == []


def test_shows_what_differs_from_the_defaults():
    assert repr(build("GRU")) == "GRU(3, 5)"
    options = {"bidirectional": True, "dropout": 0.5, "window": 7, "models": 2, "backend": "kernel"}
    shown = repr(build("RNN", num_layers=2, recurrent_dropout=0.25, **options))
    assert shown == (
        "RNN(3, 5, num_layers=2, bidirectional=True, dropout=0.5, recurrent_dropout=0.25, window=7, models=2, "
        "backend=kernel, activation=tanh)"
    )

"""Recurrences of ``torch.nn`` as stacks, so that what this suite knows of its own can be asked of foreign models."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.recording import Recording, going_on
from rnnae_bench.recurrence.stack import Stack, States
from rnnae_bench.recurrence.vanilla import RNN


def from_torch(module: nn.RNNBase) -> Stack:
    """The same recurrence as a stack, on the module's own weights: what changes one changes the other.

    No random number is drawn. A stack always has biases; where the module has none they are zero and not trained.

    Raises:
        UserError: it is no RNN, LSTM or GRU, or an LSTM with a projection, or its weights are computed from others.
    """
    if module.proj_size:
        raise UserError(f"cannot convert {module}: stacks have no projection; leave proj_size at 0")
    options: dict[str, Any] = {
        "num_layers": module.num_layers,
        "bidirectional": module.bidirectional,
        "dropout": module.dropout,
    }
    sizes = module.input_size, module.hidden_size
    stack: Stack
    with torch.device("meta"):
        if isinstance(module, nn.LSTM):
            stack = LSTM(*sizes, **options)
        elif isinstance(module, nn.GRU):
            stack = GRU(*sizes, **options)
        elif isinstance(module, nn.RNN):
            stack = RNN(*sizes, activation="relu" if module.nonlinearity == "relu" else "tanh", **options)
        else:
            raise UserError(f"cannot convert {module}: only torch.nn.RNN, LSTM and GRU have a stack of their kind")
    own = dict(module.named_parameters(recurse=False))
    if "weight_hh_l0" not in own:
        raise UserError(
            f"cannot convert {module}: its weights are computed from others (a parametrization); remove that"
        )
    like = own["weight_hh_l0"]
    for name, empty in [*stack.named_parameters()]:
        if name not in own:
            zero = torch.zeros_like(empty, dtype=like.dtype, device=like.device)
            own[name] = nn.Parameter(zero, requires_grad=False)
        setattr(stack, name, own[name])
    return stack.train(module.training)


def stack_call(
    module: nn.RNNBase, input: Tensor | PackedSequence, hx: Tensor | tuple[Tensor, Tensor] | None = None
) -> tuple[Float[Tensor, "batch time features"], Int[Tensor, " batch"] | None, States | None]:
    """Inputs, lengths and initial state for a stack, from what the module itself is called with.

    Args:
        module: Says whether the batch comes first.
        input: Sequences ``[time batch features]``, or as the module has it; packed, or one without a batch axis.
        hx: Initial state h, or h and c.
    """
    state = None if hx is None else hx if isinstance(hx, tuple) else (hx,)
    if isinstance(input, PackedSequence):
        inputs, lengths = pad_packed_sequence(input, batch_first=True)
        return inputs, lengths, state
    if input.dim() == 2:
        return input.unsqueeze(0), None, None if state is None else tuple(one.unsqueeze(1) for one in state)
    return input if module.batch_first else input.transpose(0, 1), None, state


@contextmanager
def watch(module: nn.RNNBase, refuse: Callable[[str], object] = lambda reason: None) -> Iterator[list[Recording]]:
    """As `Stack.recording`, for a recurrence of ``torch.nn``: while it lasts, every forward pass leaves a `Recording`.

    The states of all layers come from a second forward pass as a stack, which draws no random number; the `roots` are
    the module's own outputs and final states, in the graph. A pass with dropout between layers leaves nothing, since
    PyTorch keeps its masks to itself.

    Args:
        module: The recurrence.
        refuse: Told why, where a pass leaves nothing.

    Raises:
        UserError: as of `from_torch`.
    """
    twin, recordings = from_torch(module), list[Recording]()
    begun: list[Recording | None] = []

    def go_on(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        before = going_on(hx if hx is None or isinstance(hx, tuple) else (hx,), recordings)
        begun.append(before)
        if before is None:
            return None
        inner = before.inner if isinstance(hx, tuple) else before.inner[0]
        return (args[0], inner) if len(args) > 1 else args, kwargs if len(args) > 1 else {**kwargs, "hx": inner}

    def record(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> Any:
        before = begun.pop()
        if module.training and module.dropout and module.num_layers > 1:
            refuse("PyTorch keeps the masks of its dropout between layers to itself")
            return answer
        with torch.no_grad(), twin.recording() as found:
            twin(*stack_call(module, *args, **kwargs))
        (recording,) = found
        sequence, finals = answer
        recording.before, recording.inner = before, finals if isinstance(finals, tuple) else (finals,)
        copies: Any = tuple(one.clone() for one in recording.inner)
        roots, answer = _with_roots(module, sequence, copies if isinstance(finals, tuple) else copies[0])
        recording.handed_out = answer[1] if isinstance(answer[1], tuple) else (answer[1],)
        recording.leave(roots)
        recordings.append(recording)
        return answer

    hooks = (
        module.register_forward_pre_hook(go_on, with_kwargs=True),
        module.register_forward_hook(record, with_kwargs=True),
    )
    try:
        yield recordings
    finally:
        for hook in hooks:
            hook.remove()


def _with_roots(
    module: nn.RNNBase, sequence: Tensor | PackedSequence, finals: Tensor | tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]]:
    """What the module returned in the form of a stack, and the same in the module's own form, made from the first."""
    last: tuple[Tensor, ...] = finals if isinstance(finals, tuple) else (finals,)
    if isinstance(sequence, PackedSequence):
        root, lengths = pad_packed_sequence(sequence, batch_first=True)
        by_length = root
        if sequence.sorted_indices is not None:
            by_length, lengths = root[sequence.sorted_indices], lengths[sequence.sorted_indices.cpu()]
        repacked = pack_padded_sequence(by_length, lengths, batch_first=True)
        return (root, *last), (sequence._replace(data=repacked.data), finals)
    if sequence.dim() == 2:
        root = sequence.unsqueeze(0)
        last = tuple(one.unsqueeze(1) for one in last)
        own = last[0].squeeze(1) if len(last) == 1 else (last[0].squeeze(1), last[1].squeeze(1))
        return (root, *last), (root.squeeze(0), own)
    root = sequence if module.batch_first else sequence.transpose(0, 1)
    return (root, *last), (root if module.batch_first else root.transpose(0, 1), finals)


@contextmanager
def recordings_of(model: nn.Module, refused: dict[str, str] | None = None) -> Iterator[dict[str, list[Recording]]]:
    """While it lasts, every forward pass of a recurrence within the model leaves a `Recording`, by the module's name.

    Of stacks as `Stack.recording` has it, of the recurrences of ``torch.nn`` as `watch` has it; those that `from_torch`
    refuses are left out.

    Args:
        model: With recurrences in it.
        refused: Takes the reason where one of them leaves nothing, by the module's name.
    """
    reasons = {} if refused is None else refused
    recordings = {}
    with ExitStack() as contexts:
        for name, module in model.named_modules():
            if isinstance(module, Stack):
                recordings[name] = contexts.enter_context(module.recording())
            elif isinstance(module, nn.RNNBase):
                try:
                    recordings[name] = contexts.enter_context(watch(module, partial(reasons.setdefault, name)))
                except UserError as error:
                    reasons[name] = str(error)
        yield recordings

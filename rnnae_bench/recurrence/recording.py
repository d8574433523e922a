"""What a forward pass of a stack leaves behind for those who ask, and the gradients recovered from it."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.recovery import Tape, backpropagate
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.scaled import Scaled, add


def padding_of(lengths: Int[Tensor, "*model batch"], steps: int) -> Bool[Tensor, "*model time batch 1"]:
    """Which steps don't exist."""
    time = torch.arange(steps, device=lengths.device)
    return (time[:, None] >= lengths.unsqueeze(-2)).unsqueeze(-1)


def turned(
    sequence: Float[Tensor, "*model time batch features"], lengths: Int[Tensor, "*model batch"] | None
) -> Float[Tensor, "*model time batch features"]:
    """Each sequence from its last step to its first; padding stays where it is. Twice is the same as never."""
    if lengths is None:
        return sequence.flip(-3)
    steps = sequence.shape[-3]
    time = torch.arange(steps, device=sequence.device)[:, None]
    last = lengths.to(sequence.device).unsqueeze(-2) - 1
    place = torch.where(time <= last, last - time, time.expand(steps, last.shape[-1]))
    return sequence.gather(-3, place.unsqueeze(-1).expand(sequence.shape))


@dataclass
class Passage:
    """One layer and direction of a forward pass, in the order in which that direction reads."""

    name: str
    """``l0``, ``l0_reverse``, ``l1``, as in the names of the weights."""
    x: Float[Tensor, "*model time batch features"]
    weights: Weights
    initial: tuple[Float[Tensor, "*model batch hidden"], ...]
    states: Float[Tensor, "*model time batch hidden"]
    deltas: list[Deltas]
    """What the kernel's backward pass leaves, one a window; empty where the recurrence is fused."""

    @property
    def backward(self) -> bool:
        """Whether it reads from the end."""
        return self.name.endswith("_reverse")

    def layer(self, module: str) -> str:
        """The layer's full name within a model, as ``recurrence.l0``, where `module` is that of the recurrence."""
        return f"{module}.{self.name}" if module else self.name

    def totals(self) -> dict[str, Float[Tensor, "*model time batch hidden"]] | None:
        """dL/dh_t (and dL/dc_t) as the kernel's own backward pass left them; None where it didn't."""
        if not self.deltas or any(one.h is None for one in self.deltas):
            return None
        found = {}
        for state in ("h", "c"):
            pieces = [getattr(one, state) for one in self.deltas]
            if all(piece is not None for piece in pieces):
                found[state] = torch.cat(pieces, dim=-3)
        return found


@dataclass
class Recording:
    """One forward pass of a stack."""

    stack: Any
    """Gives `tape` and `window`."""
    lengths: Int[Tensor, "*model batch"] | None
    layers: list[list[Passage]] = field(default_factory=list)
    """Passages by layer and direction."""
    masks: list[Tensor | None] = field(default_factory=list)
    """What dropout multiplied the states of each layer but the last with: ``[*model time batch features]``."""
    roots: tuple[Tensor, ...] = ()
    """Through what the loss can depend on this pass, in the graph: the last layer's states as the stack returned them,
    ``[*model batch time features]``, and the final states, ``[*model layers*directions batch hidden]``."""
    gradients: dict[int, Tensor] = field(default_factory=dict)
    """dL/d of each root that a backward pass came by, by its place."""
    handed_out: tuple[Tensor, ...] = ()
    """The final states as whoever called got them; not what the next pass of the same sequence goes on from."""
    inner: tuple[Tensor, ...] = ()
    """The same as the recurrence left them: the next pass goes on from these, so that what flows back from it is in the
    gradient of none of the roots."""
    before: "Recording | None" = None
    """The pass that left the state which this one began with."""
    between: list[tuple[int, list[Tensor | None]]] = field(default_factory=list)
    """Of several passes that were `joined`: at which step all but the last ended, and dL/d of their final states."""

    @property
    def steps(self) -> Int[Tensor, "*model batch"]:
        """Steps of each sequence."""
        if self.lengths is not None:
            return self.lengths
        states = self.layers[0][0].states
        return torch.full_like(states[..., 0, :, 0], states.shape[-3], dtype=torch.int64)

    def leave(self, roots: tuple[Tensor, ...]) -> None:
        """Keep the roots, and their gradients when a backward pass comes by."""
        self.roots = roots
        for place, root in enumerate(roots):
            if root.requires_grad:
                root.register_hook(partial(self.gradients.__setitem__, place))

    def recover(self, gradients: Sequence[Tensor | None] | None = None) -> dict[str, dict[str, Scaled]]:
        """dL/dh_t (and dL/dc_t) of every layer and direction, whatever their size.

        Args:
            gradients: dL/d of each of `roots`, None for zero; by default those that a backward pass left.

        Returns:
            By passage and state; axes ``[*model time batch hidden]``, time in the passage's own order.
        """
        if gradients is None:
            gradients = [self.gradients.get(place) for place in range(len(self.roots))]
        with torch.no_grad():
            return self._recover(gradients)

    def _recover(self, gradients: Sequence[Tensor | None]) -> dict[str, dict[str, Scaled]]:
        last = self.layers[-1][0].states
        above, *finals = gradients
        if above is None:
            width = len(self.layers[-1]) * last.shape[-1]
            direct = Scaled.unscaled(last.new_zeros(*last.shape[:-1], width))
        else:
            direct = Scaled.unscaled(self._without_padding(above.transpose(-3, -2).to(last.dtype)))
        found: dict[str, dict[str, Scaled]] = {}
        for depth in range(len(self.layers) - 1, -1, -1):
            passages = self.layers[depth]
            inputs = None
            for direction, passage in enumerate(passages):
                hidden = passage.states.shape[-1]
                part = slice(direction * hidden, (direction + 1) * hidden)
                mine = self._in_order(direct.map(direct.mantissa[..., part]), passage)
                mine = _with_cells(mine, len(passage.initial))
                final = self._final(finals, depth * len(passages) + direction, passage)
                mine = mine if final is None else add(mine, final)
                tape: Tape = self.stack.tape(passage)
                recovered = backpropagate(tape, mine, self.stack.window)
                found[passage.name] = recovered.totals
                if depth:
                    reached = self._in_order(recovered.inputs, passage)
                    inputs = reached if inputs is None else add(inputs, reached)
            if inputs is not None:
                mask = self.masks[depth - 1]
                direct = inputs if mask is None else inputs.map(inputs.mantissa * mask)
        return found

    def _without_padding(self, sequence: Tensor) -> Tensor:
        if self.lengths is None:
            return sequence
        return sequence.masked_fill(padding_of(self.lengths, sequence.shape[-3]), 0.0)

    def _in_order(self, sequence: Scaled, passage: Passage) -> Scaled:
        """From the order of time to the order in which the passage reads, or back."""
        if not passage.backward:
            return sequence
        log_scale = turned(sequence.log_scale.unsqueeze(-1), self.lengths).squeeze(-1)
        return Scaled(turned(sequence.mantissa, self.lengths), log_scale)

    def _final(self, gradients: list[Tensor | None], place: int, passage: Passage) -> Scaled | None:
        """What comes in through the final states, at the last step of each sequence or of each pass that was joined."""
        ends = [*self.between, (passage.states.shape[-3], gradients)]
        if all(one is None for _, those in ends for one in those):
            return None
        states = passage.states
        parts = [torch.zeros_like(states) for _ in gradients]
        for stop, those in ends:
            for part, gradient in zip(parts, those, strict=True):
                if gradient is None:
                    continue
                mine = gradient.select(-3, place).to(states.dtype).unsqueeze(-3)
                if self.lengths is None:
                    part[..., stop - 1 : stop, :, :] = mine
                else:
                    last = (self.lengths.to(states.device) - 1).unsqueeze(-2).unsqueeze(-1).expand(mine.shape)
                    part.scatter_(-3, last, mine)
        return Scaled.of(torch.cat(parts, dim=-1))


def going_on(state: tuple[Tensor, ...] | None, passes: Sequence[Recording]) -> Recording | None:
    """The one among earlier passes whose final states, as they were handed out, are this initial state."""
    if state is None:
        return None
    same = (one for one in reversed(passes) if len(one.handed_out) == len(state))
    return next((one for one in same if all(map(operator.is_, one.handed_out, state))), None)


def joined(passes: Sequence[Recording]) -> Recording:
    """All passes of a recurrence in one forward pass of a model, as one pass over the whole sequence.

    Raises:
        UserError: they are not pieces of one sequence, each begun with the state that the last one left.
    """
    first, *rest = passes
    if not rest:
        return first
    times = f"it is called {len(passes)} times in a forward pass"
    if any(one.before is not before for one, before in zip(passes, (None, *passes[:-1]), strict=True)):
        raise UserError(
            f"{times}, and not each time with the very state that the last call returned; "
            "so the calls are not known to be one sequence"
        )
    if any(one.lengths is not None for one in passes) or any(one.backward for one in first.layers[0]):
        raise UserError(f"{times}, with sequences of different length or in both directions")
    if first.stack.window or first.stack.recurrent_dropout:
        raise UserError(f"{times}, with a window or recurrent dropout that begins anew each time")
    layers = []
    for depth in zip(*(one.layers for one in passes), strict=True):
        pieces = [piece for (piece,) in depth]
        x, states = (torch.cat([getattr(piece, name) for piece in pieces], dim=-3) for name in ("x", "states"))
        deltas = [delta for piece in pieces for delta in piece.deltas]
        layers.append([replace(pieces[0], x=x, states=states, deltas=deltas)])
    masks = [
        None if depth[0] is None else torch.cat([mask for mask in depth if mask is not None], dim=-3)
        for depth in zip(*(one.masks for one in passes), strict=True)
    ]
    whole = Recording(first.stack, None, layers, masks, passes[-1].roots, dict(passes[-1].gradients))
    if any(0 in one.gradients for one in passes):
        outputs = [one.gradients.get(0, torch.zeros_like(one.roots[0])) for one in passes]
        whole.gradients[0] = torch.cat(outputs, dim=-2)
    stop = 0
    for one in passes[:-1]:
        stop += one.layers[0][0].states.shape[-3]
        whole.between.append((stop, [one.gradients.get(place) for place in range(1, len(one.roots))]))
    return whole


def _with_cells(direct: Scaled, states: int) -> Scaled:
    """The state axis of an LSTM holds h and c; outputs reach h only."""
    if states == 1:
        return direct
    return direct.map(torch.cat((direct.mantissa, torch.zeros_like(direct.mantissa)), dim=-1))

"""The states of a loop that the suite does not know: what a model shows by `BenchModule.watch` or its `step`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from rnnae_bench.contracts.model import BenchModule, SequenceModel
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.probes.pieces import Flow, Origins, Pieces, extent, steps_of
from rnnae_bench.recurrence.recording import turned


@dataclass
class Watched:
    """What was shown under one name during one forward pass, in the order in which it was shown."""

    call: str
    """Who showed it, as ``Leaky.watch('h')``."""
    layer: str
    state: str
    backward: bool
    whole: bool
    """Whether each tensor is the state of one step, whatever its axes."""
    pieces: Pieces = field(default_factory=Pieces)
    versions: list[int | None] = field(default_factory=list)
    refused: str | None = None
    """Why it can't be read."""

    @property
    def name(self) -> str:
        """Layer and state, as in the names of columns."""
        return f"{self.layer}/{self.state}"

    def take(self, h: object, whole: bool) -> None:
        """Keep one more; what is no state is refused, once and for all."""
        if not isinstance(h, Tensor):
            self.refused = self.refused or f"a state is a tensor, and this is a {type(h).__name__}"
        elif self.whole != whole:
            self.refused = "the state of `step` has that name already; leave the call out, or give it another name"
        elif not whole and self.pieces.roots and _form(h) != _form(self.pieces.roots[0]):
            one, other = (list(shape) for shape in (self.pieces.roots[0].shape, h.shape))
            self.refused = self.refused or f"one name for states of two shapes, {one} and {other}; give each its own"
        else:
            self.pieces.take(h)
            self.versions.append(None if h.is_inference() else h._version)

    @property
    def is_constant(self) -> bool:
        """Whether it is a part of `step`'s state that no weight and no input reaches: a count, say."""
        return self.whole and not any(root.requires_grad for root in self.pieces.roots)

    @property
    def in_time(self) -> Pieces:
        """The pieces in the order of time."""
        return self.pieces.reversed() if self.backward else self.pieces

    def flow(self, spec: TaskSpec, batch: Batch, origins: Origins) -> Flow:
        """The norms of the gradients by step.

        Raises:
            UserError: what was shown are not the states of the batch's rows and steps, in the graph.
        """
        self._require_usable(len(extent(spec, batch)[0]))
        log_norm = self.in_time.log_norms(*extent(spec, batch), whole=self.whole)
        lengths = steps_of(spec, batch)
        if self.backward:
            log_norm = turned(log_norm.unsqueeze(-1), lengths).squeeze(-1)
        return Flow("gradient_flow", self.layer, self.state, log_norm, origins(lengths, self.backward))

    def _require_usable(self, rows: int) -> None:
        if self.refused is not None:
            raise UserError(self.refused)
        roots = self.pieces.roots
        if not self.whole and any(not rows < root.dim() < rows + 3 for root in roots):
            raise UserError(
                f"a state is [batch, features] at each step, or [batch, time, features], and this is "
                f"{list(roots[0].shape)}; show it as h.flatten(1)"
            )
        if not self.whole and not all(root.requires_grad for root in roots):
            raise UserError("the tensor is outside the graph (detached, or computed without gradients)")
        if any(was not in (None, root._version) for was, root in zip(self.versions, roots, strict=True)):
            raise UserError("the tensor is overwritten in place afterwards; show a tensor that stays as it is")
        if not self.pieces.gradients:
            raise UserError("no gradient of the loss reached it; go on with what `watch` returns")


def _form(h: Tensor) -> tuple[int, int, torch.dtype]:
    return h.dim(), h.shape[-1] if h.dim() else 0, h.dtype


class WatchedStates:
    """All that the modules of a model show during one forward pass, by column: ``LAYER/STATE``."""

    def __init__(self) -> None:
        self.found: dict[str, Watched] = {}

    def taker(self, owner: BenchModule, place: str) -> "Taker":
        """What `owner`, at its place in the model, shows its states to."""
        return Taker(self, type(owner).__name__, place)

    @property
    def roots(self) -> list[Tensor]:
        """Every tensor that was shown."""
        return [root for one in self.found.values() for root in one.pieces.roots]

    def flows(
        self, spec: TaskSpec, batch: Batch, origins: Origins, misplaced: Mapping[str, str], taken: Mapping[str, object]
    ) -> tuple[list[Flow], dict[str, str]]:
        """The norms of all that was shown; and, by name, what can't be told, and why.

        Args:
            spec: Of the task.
            batch: What the model was run on.
            origins: Where lag 0 is.
            misplaced: States to leave out, by name, and why.
            taken: Recurrences that are read already, by name: no state may be called as theirs.
        """
        found, absent = [], {}
        for name, one in self.found.items():
            if one.is_constant:
                continue
            try:
                if any(name.startswith(f"{other}.l") for other in taken):
                    raise UserError("the recurrence of that name is read already; give it another name")
                flow = one.flow(spec, batch, origins)
                if name in misplaced:
                    raise UserError(misplaced[name])
                found.append(flow)
            except UserError as error:
                absent[name] = f"{one.call}: {error}"
        return found, absent


@dataclass(frozen=True)
class Taker:
    """Where one module shows its states."""

    states: WatchedStates
    owner: str
    place: str

    def __call__(self, h: object, name: str, backward: bool = False, whole: bool = False) -> None:
        """Keep a state.

        Args:
            h: The state.
            name: ``STATE``, of layer ``l0``, or ``LAYER/STATE``.
            backward: Whether the loop goes from the last step to the first.
            whole: Whether `h` is a part of the state of `step`, which may have any axes.
        """
        layer, _, state = name.rpartition("/")
        layer = (layer or "l0").replace("/", ".") + ("_reverse" if backward else "")
        full = f"{self.place}.{layer}" if self.place else layer
        call = f"{self.owner}.step, state '{name}'" if whole else f"{self.owner}.watch('{name}')"
        one = self.states.found.setdefault(f"{full}/{state or 'h'}", Watched(call, full, state or "h", backward, whole))
        one.take(h, whole)


@contextmanager
def by_step(model: nn.Module) -> Iterator[None]:
    """While it lasts, sequence models that give both `states` and `step` run step by step, and show their states."""
    owners = [one for one in model.modules() if isinstance(one, SequenceModel) and one.has_states and one.has_step]
    for one in owners:
        one.states = partial(SequenceModel.states, one)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for one in owners:
            vars(one).pop("states", None)


@contextmanager
def watched_states(model: nn.Module) -> Iterator[WatchedStates]:
    """While it lasts, every state that `BenchModule.watch` is called with is kept, and the gradient that reaches it."""
    states = WatchedStates()
    owners = {name: one for name, one in model.named_modules() if isinstance(one, BenchModule)}
    before = [one.shown_to for one in owners.values()]
    for name, one in owners.items():
        one.shown_to = states.taker(one, name)
    try:
        yield states
    finally:
        for one, old in zip(owners.values(), before, strict=True):
            one.shown_to = old

"""What one forward and backward pass of a model leaves at every time step: gradients of states, or of inputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from lightning import LightningModule
from torch import Tensor

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Images, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.recurrence.conversion import recordings_of
from rnnae_bench.recurrence.recording import Passage, Recording, joined
from rnnae_bench.recurrence.recovery import ORDINARY
from rnnae_bench.recurrence.scaled import Scaled

Origins = Callable[[Int[Tensor, "*model batch"], bool], Int[Tensor, "*model batch"]]
"""From lengths, and whether the direction reads from the end, to where lag 0 is."""


class Flow(NamedTuple):
    """Norms of one gradient at every step of every sequence, in the order in which the direction reads."""

    probe: str
    layer: str
    state: str
    log_norm: Float[Tensor, "*model time batch"]
    origin: Int[Tensor, "*model batch"]


class Watch:
    """Watches one forward and backward pass of a model, from its making until `flows`.

    Its recurrences are watched, or, where it has none, its inputs.

    Args:
        module: The model.
    """

    def __init__(self, module: LightningModule) -> None:
        self._context = ExitStack()
        self._refused: dict[str, str] = {}
        self._recordings = self._context.enter_context(recordings_of(module, self._refused))
        self._inputs = None if self._recordings else self._context.enter_context(_watched_inputs(module))

    def differentiate(self, loss: Float[Tensor, ""]) -> None:
        """Backpropagate as far as what is watched, and no further."""
        roots = [root for passes in self._recordings.values() for one in passes for root in one.roots]
        roots += self._inputs.roots if self._inputs else []
        roots = [root for root in roots if root.requires_grad]
        if roots and loss.requires_grad:
            # What arrives is kept by the hooks on the roots.
            torch.autograd.grad(loss, roots, allow_unused=True)

    def close(self) -> None:
        """End the watch."""
        self._context.close()

    @torch.no_grad()
    def flows(
        self, spec: TaskSpec, batch: Batch, origins: Origins, misplaced: Mapping[str, str]
    ) -> tuple[list[Flow], dict[str, str]]:
        """The norms of all that was watched; ends the watch.

        Args:
            spec: Of the task.
            batch: What the model was run on.
            origins: Where lag 0 is.
            misplaced: Recurrences to leave out, by name, and why.

        Returns:
            The norms; and what can't be told, by the name of the recurrence or ``inputs``, and why.
        """
        self.close()
        found: list[Flow] = []
        absent = dict(self._refused)
        for name, passes in self._recordings.items():
            try:
                if passes:
                    found += _of_recurrence(name, passes, spec, batch, origins, misplaced.get(name))
            except UserError as error:
                absent[name] = str(error)
        if self._inputs and self._inputs.gradients:
            try:
                found.append(self._inputs.flow(spec, batch, origins))
            except UserError as error:
                absent["inputs"] = str(error)
        return found, absent


def _of_recurrence(
    name: str, passes: Sequence[Recording], spec: TaskSpec, batch: Batch, origins: Origins, misplaced: str | None
) -> list[Flow]:
    recording = joined(passes)
    lengths = _lengths(recording, spec, batch)
    if misplaced is not None:
        raise UserError(misplaced)
    passages = [passage for layer in recording.layers for passage in layer]
    places = [origins(lengths, passage.backward) for passage in passages]
    norms = [_left_norms(passage, place) for passage, place in zip(passages, places, strict=True)]
    if any(one is None for one in norms):
        recovered = recording.recover()
        norms = [{state: one.log_norm for state, one in recovered[passage.name].items()} for passage in passages]
    return [
        Flow("gradient_flow", passage.layer(name), state, log_norm, place)
        for passage, place, by_state in zip(passages, places, norms, strict=True)
        for state, log_norm in (by_state or {}).items()
    ]


def extent(spec: TaskSpec, batch: Batch) -> tuple[tuple[int, ...], int]:
    """The shape of the rows of a batch (with the model axis, where there is one), and its steps, padding included."""
    shape = batch.inputs.shape
    if isinstance(spec.inputs, Tokens):
        return shape[:-1], shape[-1]
    return shape[: -3 if isinstance(spec.inputs, Images) else -2], shape[-2]


def _lengths(recording: Recording, spec: TaskSpec, batch: Batch) -> Int[Tensor, "*model batch"]:
    """The steps of each row of the batch, if those are what the recurrence ran over; `UserError` if not."""
    rows, steps = extent(spec, batch)
    taken = recording.steps
    wanted = torch.full_like(taken, steps) if batch.lengths is None else batch.lengths.to(taken.device)
    padded = recording.lengths is None and recording.layers[0][0].states.shape[-3] == steps
    if tuple(taken.shape) != tuple(rows) or not (padded or torch.equal(taken, wanted)):
        ran, asked = (" x ".join(map(str, shape)) for shape in (taken.shape, rows))
        raise UserError(
            f"it runs over {int(taken.max())} steps of {ran} sequences, and the batch has {int(wanted.max())} steps of "
            f"{asked}; so its steps are not the task's"
        )
    if padded and batch.lengths is not None and any(one.backward for one in recording.layers[0]):
        raise UserError("its backward direction reads the padding first; pack the sequences")
    return wanted


@torch.no_grad()
def misplaced(module: LightningModule, batch: Batch, spec: TaskSpec) -> dict[str, str]:
    """Recurrences that do not read row by row and step by step what the batch has there, by name, and why.

    Numbers of rows and steps may agree by chance; so the model is run on the rows in reverse order, which must come to
    the recurrence in reverse order too, and with another first step, which must change what it reads first.
    """
    rows = -1 - (batch.inputs.dim() - len(extent(spec, batch)[0]))
    lengths = None if batch.lengths is None else batch.lengths.flip(-1)
    turned = Batch(batch.inputs.flip(rows), batch.targets, lengths)
    changed = batch.inputs.clone()
    first = changed[..., 0] if isinstance(spec.inputs, Tokens) else changed[..., 0, :]
    first.copy_((first + 1) % spec.inputs.vocabulary if isinstance(spec.inputs, Tokens) else first + 1)
    plain, other, moved = (_read(module, one) for one in (batch, turned, batch._replace(inputs=changed)))
    found = {}
    for name, x in plain.items():
        if name not in other or name not in moved or not x.shape == other[name].shape == moved[name].shape:
            found[name] = "what it reads depends on the order of the rows"
        elif not torch.allclose(other[name].flip(-2), x, rtol=1e-3, atol=1e-5 * float(x.abs().max())):
            found[name] = "its sequences are not the rows of the batch"
        elif torch.equal(moved[name][..., 0, :, :], x[..., 0, :, :]):
            found[name] = "its first step does not read the first step of the inputs"
    return found


def _read(module: LightningModule, batch: Batch) -> dict[str, Float[Tensor, "*model time batch features"]]:
    """What each recurrence reads, by name; nothing of those whose calls are not one sequence."""
    with recordings_of(module) as recordings, evaluating(module):
        module(batch.inputs, batch.lengths)
    found = {}
    for name, passes in recordings.items():
        with suppress(UserError):
            if passes:
                found[name] = joined(passes).layers[0][0].x
    return found


def _left_norms(
    passage: Passage, origin: Int[Tensor, "*model batch"]
) -> dict[str, Float[Tensor, "*model time batch"]] | None:
    """Logarithmic norms of what the kernel left; None where it left nothing, or where that may have left the format."""
    totals = passage.totals()
    if totals is None:
        return None
    norms = {}
    for state, total in totals.items():
        norm = Scaled.unscaled(total).log_norm
        steps = torch.arange(norm.shape[-2], device=norm.device).unsqueeze(-1)
        low, high = ORDINARY
        if (~((norm > low) & (norm < high)) & (steps <= origin.unsqueeze(-2))).any():
            return None
        norms[state] = norm
    return norms


@dataclass
class _Inputs:
    """The real-valued inputs of each forward pass, in the graph, and their gradients."""

    roots: list[Tensor] = field(default_factory=list)
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def flow(self, spec: TaskSpec, batch: Batch, origins: Origins) -> Flow:
        """The norms of the gradient by step; `UserError` where the inputs are not those of the batch."""
        gradient = self.gradients[max(self.gradients)]
        rows = gradient.transpose(1, 2).flatten(2) if gradient.dim() == 4 else gradient
        if len(self.roots) > 1 or (tuple(rows.shape[:1]), rows.shape[1]) != extent(spec, batch):
            raise UserError("the model does not read the batch once and as it is; so its steps are not the task's")
        steps = torch.full_like(rows[:, 0, 0], rows.shape[1], dtype=torch.int64)
        log_norm = Scaled.unscaled(rows).log_norm.T
        return Flow(
            "input_saliency", "inputs", "x", log_norm, origins(steps if batch.lengths is None else batch.lengths, False)
        )

    def take(self, inputs: Tensor) -> Tensor:
        """The same inputs, differentiable, and free to be changed in place."""
        root = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
        root.register_hook(partial(self.gradients.__setitem__, len(self.roots)))
        self.roots.append(root)
        return inputs if root is inputs else root.clone()


@contextmanager
def _watched_inputs(module: LightningModule) -> Iterator[_Inputs | None]:
    """Watch what a model without a recurrence reads: its embedded sequence, or the images or vectors themselves."""
    watched = _Inputs()
    if isinstance(module, SequenceModel):
        hook = module.embedding.register_forward_hook(lambda _, args, embedded: watched.take(embedded))
    else:
        hook = module.register_forward_pre_hook(
            lambda _, args: (watched.take(args[0]), *args[1:]) if args and _is_real(args[0]) else None
        )
    try:
        yield watched
    finally:
        hook.remove()


def _is_real(inputs: object) -> bool:
    return isinstance(inputs, Tensor) and inputs.is_floating_point()

"""What one forward and backward pass of a model leaves at every time step: gradients of states and of inputs."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.probes.inputs import read_inputs
from rnnae_bench.probes.pieces import Flow, Origins, extent
from rnnae_bench.probes.watched import watched_states
from rnnae_bench.recurrence.conversion import recordings_of
from rnnae_bench.recurrence.recording import Passage, Recording, joined
from rnnae_bench.recurrence.recovery import ORDINARY
from rnnae_bench.recurrence.scaled import Scaled


class Watch:
    """Watches one forward and backward pass of a model, from its making until `flows`.

    Watched are its inputs, its recurrences, and the states that it shows by itself.

    Args:
        module: The model.
        spec: Of the task.
        batch: What the model is run on.
    """

    def __init__(self, module: nn.Module, spec: TaskSpec, batch: Batch) -> None:
        self._spec, self.batch = spec, batch
        self._context = ExitStack()
        self._refused: dict[str, str] = {}
        self._recordings = self._context.enter_context(recordings_of(module, self._refused))
        self._states = self._context.enter_context(watched_states(module))
        self._inputs = self._context.enter_context(read_inputs(module, spec, batch))

    def differentiate(self, loss: Float[Tensor, ""]) -> None:
        """Backpropagate as far as what is watched, and no further."""
        roots = [root for passes in self._recordings.values() for one in passes for root in one.roots]
        roots += [*self._states.roots, *self._inputs.roots]
        roots = [root for root in roots if root.requires_grad]
        if roots and loss.requires_grad:
            # What arrives is kept by the hooks on the roots.
            torch.autograd.grad(loss, roots, allow_unused=True)

    def close(self) -> None:
        """End the watch."""
        self._context.close()

    @property
    def recordings(self) -> dict[str, list[Recording]]:
        """Every pass of every recurrence of this suite or of ``torch.nn``, by the recurrence's name."""
        return self._recordings

    @property
    def shown(self) -> dict[str, str]:
        """The states that the model showed by itself: by name, how."""
        return {name: one.call for name, one in self._states.found.items()}

    @torch.no_grad()
    def flows(self, origins: Origins, misplaced: Mapping[str, str]) -> tuple[list[Flow], dict[str, str]]:
        """The norms of all that was watched; ends the watch.

        Args:
            origins: Where lag 0 is.
            misplaced: Recurrences and states to leave out, by name, and why.

        Returns:
            The norms; and what can't be told, by the name of the recurrence, the state or ``inputs``, and why.
        """
        self.close()
        found: list[Flow] = []
        absent = dict(self._refused)
        for name, passes in self._recordings.items():
            try:
                if passes:
                    found += _of_recurrence(name, passes, self._spec, self.batch, origins, misplaced.get(name))
            except UserError as error:
                absent[name] = str(error)
        shown, not_shown = self._states.flows(self._spec, self.batch, origins, misplaced, self._recordings)
        try:
            read = [self._inputs.flow(self._spec, self.batch, origins)]
        except UserError as error:
            read, not_shown = [], not_shown | {"inputs": str(error)}
        return [*found, *shown, *read], absent | not_shown


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

"""Whether what runs in a model reads row by row and step by step what the batch has there."""

from contextlib import suppress
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.spec import Static, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.probes.pieces import extent
from rnnae_bench.probes.watched import watched_states
from rnnae_bench.recurrence.conversion import recordings_of
from rnnae_bench.recurrence.recording import joined


class _Read(NamedTuple):
    """What a recurrence reads, or the states that a loop shows, in one forward pass."""

    values: Float[Tensor, "*model time batch features"]
    is_watched: bool = False
    backward: bool = False


@torch.no_grad()
def misplaced(module: nn.Module, batch: Batch, spec: TaskSpec) -> dict[str, str]:
    """Recurrences and watched states that are not row by row and step by step the batch's, by name, and why.

    Numbers of rows and steps may agree by chance; so the model is run on the rows in reverse order, which must come to
    the recurrence in reverse order too, and with another first step, which must change what it reads first. Of a
    watched state the first is the one after the first step, not the one that the loop begins with.
    """
    if isinstance(spec.inputs, Static):
        return {}
    rows, _ = extent(spec, batch)
    turned = batch.map(lambda one: one.flip(len(rows) - 1))
    changed = batch.inputs.clone()
    first = changed[..., 0] if isinstance(spec.inputs, Tokens) else changed[..., 0, :]
    first.copy_((first + 1) % spec.inputs.vocabulary if isinstance(spec.inputs, Tokens) else first + 1)
    runs = [_run(module, one, spec) for one in (batch, turned, batch._replace(inputs=changed))]
    found = {}
    for name, x in runs[0].items():
        others = [run.get(name) for run in runs[1:]]
        if any(one is None or one.values.shape != x.values.shape for one in others):
            found[name] = "what it reads depends on the order of the rows"
            continue
        other, moved = (one.values for one in others if one is not None)
        reads = (moved != x.values).movedim(-3, 0).flatten(1).any(dim=1)
        if not torch.allclose(other.flip(-2), x.values, rtol=1e-3, atol=1e-5 * float(x.values.abs().max())):
            found[name] = "its sequences are not the rows of the batch"
        elif not x.is_watched and not reads[0]:
            found[name] = "its first step does not read the first step of the inputs"
        elif x.is_watched and not x.backward and (place := int(reads.int().argmax())):
            # A layer that is renewed every few steps only may be late by another number of them.
            if place == 1:
                found[name] = "its first state is the one before the first step; show what a step leaves"
            elif place == len(reads) - 1:
                found[name] = "the loop reads the last step first; show it with backward=True"
    return found


def _run(module: nn.Module, batch: Batch, spec: TaskSpec) -> dict[str, _Read]:
    """By name; nothing of what is not one sequence, or can't be read in other respects."""
    rows, steps = extent(spec, batch)
    with recordings_of(module) as recordings, watched_states(module) as states, evaluating(module):
        training_prediction(module, batch, spec)
    found = {}
    for name, passes in recordings.items():
        with suppress(UserError):
            if passes:
                found[name] = _Read(joined(passes).layers[0][0].x)
    for name, one in states.found.items():
        if one.refused is None and not one.whole and all(root.dim() <= len(rows) + 2 for root in one.pieces.roots):
            values = one.in_time.values(rows)
            if values.shape[:-1] == (*rows[:-1], steps, *rows[-1:]):
                found[name] = _Read(values, True, one.backward)
    return found

"""What one forward and backward pass of a model leaves at every time step: gradients of states, or of inputs."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from lightning import LightningModule
from torch import Tensor

from rnnae_bench.module import SequenceModel
from rnnae_bench.recurrence.conversion import recordings_of
from rnnae_bench.recurrence.recording import Passage, Recording
from rnnae_bench.recurrence.scaled import Scaled

_UNSAFE = math.log(1e-30)
"""Below this norm single precision may have lost components; the gradient is then recovered on a logarithmic scale."""

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
        self._recordings = self._context.enter_context(recordings_of(module))
        self._inputs = None if self._recordings else self._context.enter_context(_watched_inputs(module))

    def differentiate(self, loss: Float[Tensor, ""]) -> None:
        """Backpropagate as far as what is watched, and no further."""
        roots = [root for recording in self._latest().values() for root in recording.roots]
        roots += self._inputs.roots if self._inputs else []
        roots = [root for root in roots if root.requires_grad]
        if roots and loss.requires_grad:
            # What arrives is kept by the hooks on the roots.
            torch.autograd.grad(loss, roots, allow_unused=True)

    def _latest(self) -> dict[str, Recording]:
        return {name: calls[-1] for name, calls in self._recordings.items() if calls}

    def close(self) -> None:
        """End the watch."""
        self._context.close()

    @torch.no_grad()
    def flows(self, lengths: Int[Tensor, "*model batch"] | None, origins: Origins) -> list[Flow]:
        """The norms of all that was watched; ends the watch."""
        self.close()
        found = []
        for name, recording in self._latest().items():
            passages = [passage for layer in recording.layers for passage in layer]
            places = [origins(recording.steps, passage.backward) for passage in passages]
            norms = [_left_norms(passage, place) for passage, place in zip(passages, places, strict=True)]
            if any(one is None for one in norms):
                recovered = recording.recover()
                norms = [
                    {state: one.log_norm for state, one in recovered[passage.name].items()} for passage in passages
                ]
            for passage, place, by_state in zip(passages, places, norms, strict=True):
                assert by_state is not None
                layer = passage.layer(name)
                found += [Flow("gradient_flow", layer, state, one, place) for state, one in by_state.items()]
        if self._inputs and self._inputs.gradients:
            gradient = self._inputs.gradients[max(self._inputs.gradients)]
            rows = gradient.transpose(1, 2).flatten(2) if gradient.dim() == 4 else gradient
            log_norm = Scaled.unscaled(rows).log_norm.T
            steps = torch.full_like(rows[:, 0, 0], rows.shape[1], dtype=torch.int64) if lengths is None else lengths
            found.append(Flow("input_saliency", "inputs", "x", log_norm, origins(steps, False)))
        return found


def _left_norms(
    passage: Passage, origin: Int[Tensor, "*model batch"]
) -> dict[str, Float[Tensor, "*model time batch"]] | None:
    """Logarithmic norms of what the kernel left; None where it left nothing, or where that may have underflowed."""
    totals = passage.totals()
    if totals is None:
        return None
    norms = {}
    for state, total in totals.items():
        norm = Scaled.unscaled(total).log_norm
        steps = torch.arange(norm.shape[-2], device=norm.device).unsqueeze(-1)
        if ((norm < _UNSAFE) & (steps <= origin.unsqueeze(-2))).any():
            return None
        norms[state] = norm
    return norms


@dataclass
class _Inputs:
    """The real-valued inputs of each forward pass, in the graph, and their gradients."""

    roots: list[Tensor] = field(default_factory=list)
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def take(self, inputs: Tensor) -> Tensor:
        """The same inputs, differentiable."""
        if not inputs.requires_grad:
            inputs = inputs.detach().requires_grad_()
        inputs.register_hook(partial(self.gradients.__setitem__, len(self.roots)))
        self.roots.append(inputs)
        return inputs


@contextmanager
def _watched_inputs(module: LightningModule) -> Iterator[_Inputs | None]:
    """Watch what a model without a recurrence reads: its embedded sequence, or the images or vectors themselves."""
    watched = _Inputs()
    if isinstance(module, SequenceModel):
        hook = module.embedding.register_forward_hook(lambda _, args, embedded: watched.take(embedded))
    else:
        hook = module.register_forward_pre_hook(
            lambda _, args: (watched.take(args[0]), *args[1:]) if args and args[0].is_floating_point() else None
        )
    try:
        yield watched
    finally:
        hook.remove()

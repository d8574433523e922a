"""How a model of the suite is trained: the options that all of them share."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from rnnae_bench.contracts.search_space import Range
from rnnae_bench.errors import require_choice, require_fraction, require_not_negative, require_positive


@dataclass(frozen=True)
class Optimization:
    """How a model is trained: Adam with decoupled weight decay, warm-up, decay and clipping.

    Args:
        learning_rate: Peak learning rate.
        warmup: Share of the steps in which the rate rises linearly from 0 to its peak.
        decay: How it falls from there to 0 at the last step: along a half cosine, or not at all.
        halve_every: Steps after which the rate is halved, again and again, whatever `decay` says; 0 never halves it.
        weight_decay: Decoupled weight decay (Loshchilov & Hutter 2019), times the learning rate each step.
        clip: The largest gradient allowed; 0 switches clipping off.
        clip_by: Clip the global 2-norm (Pascanu et al. 2013) or every component's absolute value.
    """

    learning_rate: Annotated[float, Range(1e-4, 3e-2, log=True)] = 3e-3
    warmup: float = 0.3
    decay: Literal["cosine", "none"] = "cosine"
    halve_every: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    clip_by: Literal["norm", "value"] = "norm"

    def __post_init__(self) -> None:
        require_positive(learning_rate=self.learning_rate)
        require_fraction(warmup=self.warmup)
        require_not_negative(halve_every=self.halve_every, weight_decay=self.weight_decay, clip=self.clip)
        require_choice(("cosine", "none"), decay=self.decay)
        require_choice(("norm", "value"), clip_by=self.clip_by)

    def rate(self, step: int, max_steps: int) -> float:
        """Share of the peak learning rate at an optimiser step (from 0).

        >>> schedule = Optimization(warmup=0.5)
        >>> [round(schedule.rate(step, 8), 3) for step in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
        >>> halved = Optimization(warmup=0.0, decay="none", halve_every=3)
        >>> [halved.rate(step, 8) for step in range(8)]
        [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
        """
        share = self._share(step, max_steps)
        return share * 0.5 ** (step // self.halve_every) if self.halve_every else share

    def _share(self, step: int, max_steps: int) -> float:
        rising = round(self.warmup * max_steps)
        if step < rising:
            return (step + 1) / rising
        if self.decay == "none":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, max_steps - rising)))

"""Optuna's sampler, seeded for each trial by itself. Importing this module imports Optuna."""

import hashlib
from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial


class SeededByNumber(BaseSampler):
    """A tree-structured Parzen estimator (Bergstra et al. 2011) whose seed is a function of the trial's number.

    With one seed for a whole process, a search that goes on would repeat its first draws, and two that share a storage
    would draw the same.

    Args:
        seed: What all the trials' seeds are made from.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._sampler = TPESampler()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Take a fresh sampler."""
        digest = hashlib.sha256(f"{self._seed} {trial.number}".encode()).digest()
        self._sampler = TPESampler(seed=int.from_bytes(digest[:4], "big"))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler has it."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler has it."""
        return self._sampler.sample_relative(study, trial, dict(search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler has it."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

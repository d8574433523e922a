"""What determines a trial's result, and its id, which is the content hash of that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rnnae_bench.records.identity import identity
from rnnae_bench.records.privacy import options_without_home
from rnnae_bench.trial.pair import Pair


@dataclass(frozen=True)
class Determinants:
    """All that determines a trial's result: the same of these, the same trial.

    Args:
        pair: Task variant and model.
        options: All options of task, model and trainer.
        layout: Devices, their kind, strategy and precision, as `rnnae_bench.trial.layout` finds them.
        seed: Fixes weights and everything random in the model.
        data_seed: Fixes the training stream.
    """

    pair: Pair
    options: Mapping[str, Mapping[str, Any]]
    layout: Mapping[str, Any]
    seed: int
    data_seed: int

    @property
    def identity(self) -> str:
        """Content hash; 16 hexadecimal digits."""
        return identity(
            self.pair.label,
            self.pair.model_handle.name,
            # As the record tells them, so that it does not depend on where somebody's home is.
            options_without_home(self.options),
            self.layout,
            (self.seed, self.data_seed),
            self.plugins,
        )

    def under(self, seed: int, data_seed: int) -> "Determinants":
        """The same under other seeds."""
        return replace(self, seed=seed, data_seed=data_seed)

    @property
    def plugins(self) -> dict[str, str]:
        """The distributions that the task and the model come from, with their versions."""
        handles = (self.pair.task_handle, self.pair.model_handle)
        return {handle.distribution: handle.version for handle in handles}


def alters_data(overrides: Mapping[str, Any]) -> bool:
    """Whether options that are not the defaults, by dotted name, make the data other than the variant's."""
    return any(key.startswith("task.") and not key.startswith("task.protocol.") for key in overrides)

"""How large a state is that grows with time."""

from dataclasses import dataclass

from rnnae_bench.errors import require_positive


@dataclass(frozen=True)
class Growing:
    """The size of a state that grows with every step, as a transformer's cache does.

    Args:
        per_step: How many numbers come to it at each step.
    """

    per_step: int

    def __post_init__(self) -> None:
        require_positive(per_step=self.per_step)

    def __str__(self) -> str:
        return f"{self.per_step}/step"

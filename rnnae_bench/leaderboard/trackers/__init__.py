"""Where else results go while they come in: W&B, CSV and TensorBoard; and the way back from W&B to records."""

from collections.abc import Sequence

from rnnae_bench.errors import UserError, require_choice

LOGGERS = ("wandb", "csv", "tensorboard")
"""The names of the loggers."""


def require_loggers(names: Sequence[str]) -> None:
    """Raise `UserError` where there is no such logger."""
    if isinstance(names, str):
        raise UserError(f"loggers is a list of names, got the text {names!r}; write [{names!r}]")
    for name in names:
        require_choice(LOGGERS, loggers=name)

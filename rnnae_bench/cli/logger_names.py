"""The loggers that a command's ``--logger`` may name."""

from rnnae_bench.errors import require_choice

LOGGERS = ("wandb", "csv", "tensorboard")


def logger_names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list; `UserError` where one is unknown."""
    wanted = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in wanted:
        require_choice(LOGGERS, **{"--logger": name})
    return wanted

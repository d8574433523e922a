"""The options of ``run`` beside those of the pair: declared once, for the parser and for a help without torch."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from rnnae_bench.leaderboard.trackers import LOGGERS

_UNDERSCORED = ("--data_seed", "--checkpoint_every")
"""Spellings that are taken as those with dashes."""


def add_own(add: Callable[..., Any]) -> None:
    """Add the options by a parser's ``add_argument``."""
    add("--seed", type=int, default=0, help="The first seed of weights, data order and noise.")
    add("--seeds", type=int, default=1, help="How many seeds, counting up from --seed.")
    add("--data-seed", type=int | None, help="Seed of the training data, else --seed.")
    add("--out", type=str, default="runs", metavar="FOLDER", help="Folder for the records.")
    add("--overwrite", action="store_true", help="Run again what has a good record; both are kept.")
    add("--probes", type=str, default="", metavar="NAMES", help="Measure with these probes of plugins, too.")
    add("--logger", type=str, default="", help=f"Log to these too: {','.join(LOGGERS)}.")
    about = "Keep the state so often (10m), to go on from there."
    add("--checkpoint-every", type=str | None, metavar="TIME", help=about)
    add("--keep", type=Literal["weights"] | None, help="What to keep beside the record.")
    about = "Width by parameters=10k, state=256 or seconds=60."
    add("--match", type=str | None, metavar="QUANTITY=AMOUNT", help=about)
    add("--threads", type=int | None, help="CPU threads, else a core each that others leave.")
    add("--json", action="store_true", help="Only the records, as JSON, on standard output.")


def dashed(arguments: Sequence[str]) -> list[str]:
    """The arguments, options that were once written with underscores as they are written now."""
    return [
        one.replace(old, old.replace("_", "-"), 1) if (old := one.partition("=")[0]) in _UNDERSCORED else one
        for one in arguments
    ]

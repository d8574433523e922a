"""What several commands share: where records lie, which are meant, where loggers wrote, what is found wrong."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import require_choice
from rnnae_bench.leaderboard.trackers import LOGGERS
from rnnae_bench.leaderboard.trackers.places import written_by
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record

if TYPE_CHECKING:
    from rich.console import Console

    from rnnae_bench.leaderboard.submission import Finding, Objections

RUNS = "runs"
"""Where runs and sweeps write, unless a folder is named, seen from where the command runs."""

COMMITTED = "leaderboards/records"
"""Where a checkout keeps the records of its leaderboard."""


def logger_names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list; `UserError` where one is unknown."""
    wanted = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in wanted:
        require_choice(LOGGERS, **{"--logger": name})
    return wanted


def say_where_logged(console: "Console", folder: Path, loggers: Sequence[str], identities: Sequence[str]) -> None:
    """Tell where each logger wrote what it logged of these trials, in a folder of records."""
    for line in written_by(folder, loggers, identities):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def load_libraries() -> None:
    """Import torch, torchvision and Lightning, whose log is kept to errors from here on.

    Raises:
        UserError: the torchvision that is installed does not fit torch.
    """
    from rnnae_bench.trial.environment import require_matching_torchvision

    require_matching_torchvision()
    from rnnae_bench.training.lightning import errors_only

    errors_only()


@contextmanager
def remarks_told() -> Iterator[None]:
    """Have what the front door warns of in the block, as files that are no records, be lines on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: print(printable(f"rnnae-bench: {message}"), file=sys.stderr)
        yield


def read_records(folder: Path) -> list[Record]:
    """All records of a folder; says on standard error which files are none."""
    from rnnae_bench.api.reading import load

    with remarks_told():
        return load(folder).records


def objections() -> "Objections":
    """What else speaks against a record, by the tasks and models that are installed; imports torch."""
    load_libraries()
    from rnnae_bench.trial import verify as objections

    return objections.objections


def print_findings(findings: "Sequence[Finding]") -> None:
    """A table of what is taken and what is refused, with the reasons."""
    rows = []
    for one in findings:
        what = f"{one.record.model} on {one.record.task}:{one.record.variant}" if one.record else "-"
        seed = str(one.record.seed) if one.record else "-"
        status = one.record.status if one.record else "-"
        verdict = "taken" if one.taken else "refused"
        why = "; ".join(one.reasons or one.remarks)
        rows.append((one.path.stem, what, seed, status, verdict, why))
    print_table(("record", "trial", "seed", "status", "", "why"), rows)

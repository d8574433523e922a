"""Which records a leaderboard takes: what can be told of a record's truth from its files alone.

A checksum tells a record that was torn or edited by hand. It is no signature: who edits a record and computes the
checksum again is caught by what must agree within a record, by its fingerprints and its id
(`rnnae_bench.trial.verify.objections`), or by nobody until somebody runs it again (``rnnae-bench reproduce``).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.consistency import inconsistent, unreadable_text
from rnnae_bench.rankings.rows import summarize
from rnnae_bench.rankings.standing import MINIMUM_SEEDS
from rnnae_bench.records import history
from rnnae_bench.records.document import load
from rnnae_bench.records.history import Series
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

TUNING_SEEDS = 1000
"""From here up, seeds are for tuning: a score under one is no test."""

Objections = Callable[[Record], tuple[list[str], list[str]]]
"""What else speaks against a record, and what is to be remarked: `rnnae_bench.trial.verify.objections`."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one file."""

    path: Path
    record: Record | None
    """None where it is no record."""
    reasons: tuple[str, ...]
    """Why it is refused; none where it is taken."""
    remarks: tuple[str, ...] = ()
    """What is worth knowing without speaking against it."""

    @property
    def taken(self) -> bool:
        """Whether the leaderboard takes it."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        names = ("id", "task", "variant", "model", "seed", "status")
        known = {name: None if self.record is None else getattr(self.record, name) for name in names}
        return {"file": str(self.path), **known, "taken": self.taken, "reasons": self.reasons, "remarks": self.remarks}


@dataclass(frozen=True)
class Submission:
    """The findings about all records of a folder."""

    findings: tuple[Finding, ...]
    source: Store

    @property
    def taken(self) -> list[Finding]:
        """Those that the leaderboard takes."""
        return [one for one in self.findings if one.taken]

    @property
    def refused(self) -> list[Finding]:
        """The others."""
        return [one for one in self.findings if not one.taken]


def examine(runs: Path, records: Path, objections: Objections) -> Submission:
    """Examine records that are offered to a leaderboard.

    Args:
        runs: The folder of the offered records.
        records: The leaderboard's; what it has already counts towards the seeds of a row.
        objections: What else speaks against a record.

    Raises:
        UserError: there is no such folder of runs.
    """
    there = Store(records).read().records if records.is_dir() else []
    known = {record.id: record for record in there}
    findings = []
    for one in _each(runs, objections):
        if one.record is None:
            findings.append(one)
            continue
        reasons, already = [*one.reasons], known.get(one.record.id)
        if one.record.checksum is None:
            reasons.append("it has no checksum: made by an older version; run it again")
        if one.record.status in ("interrupted", "skipped"):
            reasons.append(f"a trial that was {one.record.status} measured nothing")
        if already is not None and already != one.record:
            reasons.append("the leaderboard has another record of this trial already, and keeps it")
        remarks = ("there already",) if already == one.record else ()
        findings.append(replace(one, reasons=tuple(reasons), remarks=(*one.remarks, *remarks)))
    return Submission(tuple(_without_short_rows(findings, there)), Store(runs))


def inspect(records: Path, objections: Objections) -> Submission:
    """Examine the records that a leaderboard has.

    As `examine`, but what they can't have (records of an older version a checksum, a row all seeds yet) is a remark.
    """
    findings = []
    for one in _each(records, objections):
        older = one.record is not None and one.record.checksum is None
        remarks = (*one.remarks, "it has no checksum: made by an older version") if older else one.remarks
        findings.append(replace(one, remarks=remarks))
    short = _short_rows([one.record for one in findings if one.record is not None and one.taken])
    return Submission(
        tuple(
            replace(one, remarks=(*one.remarks, short[one.record.id]))
            if one.record is not None and one.record.id in short
            else one
            for one in findings
        ),
        Store(records),
    )


def _each(folder: Path, objections: Objections) -> Iterator[Finding]:
    if not folder.is_dir():
        raise UserError(f"there are no records in {folder}: no such folder; name the one that the runs wrote to")
    for path in sorted(folder.glob("*.json")):
        yield _examined(path, objections)


def _examined(path: Path, objections: Objections) -> Finding:
    try:
        _require_plain_file(path)
        record = load(path)
        table = path.with_name(record.history.file)
        _require_own_names(path, record)
        _require_plain_file(table)
        series = _histories(table, record)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return Finding(path, None, (printable(" ".join(str(reason).split()))[:300],))
    reasons = [*unreadable_text(record), *_against_protocol(record), *inconsistent(record, series)]
    remarks: list[str] = []
    if not reasons:
        # Another user's record comes near the tasks and models only when nothing speaks against it so far.
        reasons, remarks = objections(record)
    if record.environment.git is None:
        remarks = [*remarks, "made by an installed package, so of no known commit"]
    return Finding(path, record, tuple(map(printable, reasons)), tuple(map(printable, remarks)))


def _require_plain_file(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(f"{path.name} is a symbolic link")
    if not path.exists():
        raise ValueError(f"{path.name} is missing")
    if not path.is_file():
        raise ValueError(f"{path.name} is not a file")


def _require_own_names(path: Path, record: Record) -> None:
    if path.name != f"{record.id}.json":
        raise ValueError(f"its id is {record.id}, which is not its file's name")
    if record.history.file != f"{record.id}.parquet":
        raise ValueError(f"its histories are {record.history.file}, another trial's")


def _histories(path: Path, record: Record) -> dict[str, Series]:
    """The histories of a record; ValueError where they are not its own, or none."""
    if path.stat().st_size > history.LARGEST:
        raise ValueError(f"its histories are larger than {history.LARGEST:,} bytes")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.history.sha256:
            raise ValueError("its histories were changed or swapped: their checksum is not the one it names")
    return history.read_named(path, record.history.columns)


_LAYOUT = {f"trainer.{option}" for option in ("accelerator", "strategy", "devices", "num_nodes", "precision")}
_HARMLESS = {f"trainer.{option}" for option in ("deterministic", "benchmark", "detect_anomaly", "sync_batchnorm")}


def _against_protocol(record: Record) -> Iterator[str]:
    """What a record did otherwise than everybody."""
    for option, value in record.overrides.items():
        if option.startswith("task."):
            yield (
                f"{option}={json.dumps(value)[:40]} leaves the frozen variant, so it is another task; "
                "a leaderboard holds frozen variants only"
            )
        elif option.startswith("trainer.") and option not in _LAYOUT | _HARMLESS:
            yield f"{option}={json.dumps(value)[:40]} changes how everybody trains"
    if record.data_seed != record.seed:
        yield f"its data seed is {record.data_seed} and its seed {record.seed}: no longer paired with the others"
    if record.seed >= TUNING_SEEDS:
        yield f"its seed is {record.seed}; seeds from {TUNING_SEEDS} up are for tuning"
    git = record.environment.git
    if git is not None and git.dirty:
        yield "the checkout it was made from had changes (dirty); commit them and run it again"


def _short_rows(records: Sequence[Record]) -> dict[str, str]:
    """By id: what seeds its row lacks."""
    short = {}
    for row in summarize(records):
        # From 0 up: whoever may choose the seeds may choose the result.
        missing = [seed for seed in range(MINIMUM_SEEDS) if seed not in row.seeds]
        if missing:
            reason = f"its row lacks seed {', '.join(map(str, missing))}: a row has the seeds 0 to {MINIMUM_SEEDS - 1}"
            short.update(dict.fromkeys(row.ids, reason))
    return short


def _without_short_rows(findings: Sequence[Finding], there: Sequence[Record]) -> list[Finding]:
    taken = {one.record.id: one.record for one in findings if one.record is not None and one.taken}
    short = _short_rows(list({**{record.id: record for record in there}, **taken}.values()))
    return [
        replace(one, reasons=(short[one.record.id],))
        if one.taken and one.record is not None and one.record.id in short
        else one
        for one in findings
    ]


def take(submission: Submission, records: Path) -> list[Path]:
    """Copy what is taken to a leaderboard's folder; returns the files that are new there.

    Raises:
        ValueError: a file was changed since it was examined.
    """
    store = Store(records)
    written = []
    for one in submission.taken:
        assert one.record is not None
        target = store.path(one.record.id)
        if target.exists():
            continue
        kept = Store(one.path.parent).kept_samples(one.record)
        store.adopt(one.record, one.path.with_suffix(".parquet").read_bytes(), kept)
        written += [target, target.with_suffix(".parquet")]
        if kept is not None and one.record.samples is not None:
            written.append(records / one.record.samples.file)
    return written

"""``rnnae-bench reproduce``: run a record's trial again, and say whether it gives the same."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.cli.common import COMMITTED, RUNS, load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.records.record import Record
    from rnnae_bench.records.store import Store
    from rnnae_bench.trial.reproduce import Difference, Reproduction
    from rnnae_bench.trial.trial import Trial

PLACES = (RUNS, COMMITTED)
"""Where records are looked for unless a folder is named."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench reproduce",
        description="Run a record's trial again: with its configuration and seeds, after saying what differs here from "
        "where it was made. On the same processor, threads and versions every bit is the same. Elsewhere it is "
        "reproduced where all metrics are the same within rounding (half of the digits of its precision); that other "
        "seeds would differ as much is said, and is no reproduction.",
        allow_abbrev=False,
    )
    parser.add_argument("record", metavar="ID", help="the record's id, or its first digits, or its file")
    parser.add_argument(
        "--from", dest="source", metavar="FOLDER", help=f"where to look for it (default: {', then '.join(PLACES)})"
    )
    parser.add_argument("--out", metavar="FOLDER", help="keep the new record there (default: it is not kept)")
    parser.add_argument("--check", action="store_true", help="say what differs here, and run nothing")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as the record, if there are)")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON, and nothing else, on standard output")
    return parser


def main(arguments: list[str]) -> int:
    """Reproduce a record; 0 where it is reproduced (or, to check, could be), 1 where not."""
    options = parser().parse_args(arguments)
    if options.threads is not None:
        require_positive(threads=options.threads)
    record, store = find(options.record, options.source)
    if options.out and Path(options.out).resolve() == store.folder.resolve():
        raise UserError(f"--out {options.out} is where the record lies, which would be replaced; choose another folder")
    if record.status not in ("ok", "diverged", "oom", "error"):
        raise UserError(f"record {record.id} can't be reproduced: the trial was {record.status}; 'run' it")

    load_libraries()
    import torch

    from rnnae_bench.trial import reproduce as reproduction
    from rnnae_bench.trial.launchers import rank
    from rnnae_bench.trial.rebuild import rebuild

    torch.set_num_threads(options.threads or reproduction.here_threads(record))
    with plugins_aside():
        trial = rebuild(record)
    differing = reproduction.differences(record, trial)
    others = any(one.is_of_data for one in differing)
    is_helper = trial.layout["devices"] > 1 and rank() > 0
    if not options.json and not is_helper:
        _print_differences(record, differing)
    if others or options.check:
        if options.json:
            print(json.dumps({"id": record.id, "differences": [asdict(one) for one in differing]}, indent=1))
        elif others:
            print("not run: the data differ, so this is another task than the record's")
        return 1 if others else 0
    found = _run(record, store, trial, options.out)
    if found is None:
        return 0
    if options.json:
        outcome = {**asdict(found), "inside": found.inside, "reproduced": found.reproduced}
        print(json.dumps({"id": record.id, "differences": [asdict(one) for one in differing], **outcome}, indent=1))
    else:
        for line in sentences(record, differing, found):
            print(printable(line))
    return 0 if found.reproduced else 1


def find(reference: str, source: str | None) -> "tuple[Record, Store]":
    """A record by its file, its id or the first digits of that, and the store it lies in.

    Raises:
        UserError: there is none, several begin so, or it can't be read as one.
    """
    from rnnae_bench.records.store import Store

    path = Path(reference)
    if path.suffix == ".json":
        return _load(path), Store(path.parent)
    folders = [Path(source)] if source else [Path(place) for place in PLACES]
    for folder in folders:
        found = sorted(one for one in folder.glob("*.json") if one.stem.startswith(reference)) if reference else []
        if len(found) > 1:
            names = ", ".join(one.stem for one in found[:4])
            raise UserError(f"{len(found)} records in {folder} begin with '{reference}' ({names}); give more digits")
        if found:
            return _load(found[0]), Store(folder)
    raise UserError(
        f"there is no record '{reference}' in {' or '.join(map(str, folders))}; give --from FOLDER or its file"
    )


def _load(path: Path) -> "Record":
    from rnnae_bench.records.document import load

    try:
        return load(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} can't be read as a record of this version: {reason}") from error


def _print_differences(record: "Record", differing: "list[Difference]") -> None:
    print(printable(f"record {record.id}: {record.trial}, {record.status}"))
    if differing:
        print_table(("differs", "record", "here"), [(one.what, one.recorded, one.here) for one in differing])
    else:
        print("nothing differs here from where it was made")


def _run(record: "Record", store: "Store", trial: "Trial", out: str | None) -> "Reproduction | None":
    from rich.console import Console

    from rnnae_bench.api.training_progress import TrainingProgress
    from rnnae_bench.records.store import Store
    from rnnae_bench.trial.reproduce import compare, run_again

    series = _series(store, record)
    progress = TrainingProgress(Console(stderr=True), record.trial, record.primary.metric)
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as folder:
        kept = Store(Path(out or folder))
        kept.require_writable()
        with plugins_aside():
            outcome = run_again(record, trial, kept, ["rnnae-bench", "reproduce", record.id], [progress])
        if outcome is None:
            return None
        if outcome.rescue:
            print(f"{outcome.rescue}; the record was saved as {outcome.path}", file=sys.stderr)
        records = store.read().records if store.folder.is_dir() else []
        return compare(record, series, outcome.record, outcome.series, records)


def _series(store: "Store", record: "Record") -> dict[str, Any]:
    try:
        return store.series(record)
    except (OSError, ValueError) as error:
        raise UserError(f"the histories of record {record.id} can't be read: {error}") from error


def sentences(record: "Record", differing: "list[Difference]", found: "Reproduction") -> list[str]:
    """What came of it, in words; the last is the verdict."""
    metric = record.primary.metric
    lines = [f"{metric}: {found.value_before} in the record, {found.value_after} now"]
    if found.before != found.after:
        lines = [f"it ended {found.after} now, and {found.before} in the record"]
    if found.agreement == "exact":
        lines.append("the same bit for bit: all metrics and histories")
    else:
        precision = record.environment.precision
        limit = f"a relative {found.tolerance:.1e}, half of the digits of {precision}"
        if found.agreement == "rounding":
            lines.append(f"the same within rounding: all metrics to {limit}")
        else:
            shown = [f"{name} {one} in the record, {two} now" for name, (one, two) in list(found.beyond.items())[:3]]
            lines.append(f"differs beyond rounding ({limit}): {'; '.join(shown) or 'its histories'}")
        if found.column is not None:
            when = "" if found.step is None else f" at step {found.step}"
            lines.append(f"the first difference is in {found.column}{when}")
        lines.append(_why(differing, found))
    if found.agreement == "different":
        lines.append(_spread(found))
    how = "bit for bit" if found.agreement == "exact" else "within rounding"
    lines.append(f"reproduced {how}" if found.reproduced else "not reproduced")
    return lines


def _why(differing: "list[Difference]", found: "Reproduction") -> str:
    """Why not every bit is the same."""
    if found.members_after != found.members_before:
        here = f"as one of {found.members_after}" if found.members_after > 1 else "alone"
        return f"it was trained as one of {found.members_before}, and {here} now, so the last bits are bound to differ"
    names = [one.what for one in differing if one.what != "id"]
    if found.members_before > 1 and not names:
        return "it was trained as one with others than now; where their sequences are longer, the last bits differ"
    if not names:
        return "on the same machine and versions every bit should be the same: report this"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more} differ here; what that changes in the last bits, training amplifies"


def _spread(found: "Reproduction") -> str:
    """Whether other seeds of the row differ as much."""
    if found.interval is None:
        return f"its row has {found.seeds} seeds: too few to say whether other seeds differ as much"
    low, high = found.interval
    if found.inside is None:
        return f"one more of the row's {found.seeds} seeds would lie between {low:.4g} and {high:.4g} (95 %)"
    place = "where" if found.inside else "outside of where"
    return (
        f"the value lies {place} one more of the row's {found.seeds} seeds would (95 %: {low:.4g} to {high:.4g}); "
        "under the same seed that is no reproduction"
    )

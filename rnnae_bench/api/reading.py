"""Records that lie on disk, as results."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from rnnae_bench.api.results import Result, Results
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.records import document
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store


def load(place: str | Path = "runs", *, task: str | Sequence[str] = (), model: str | Sequence[str] = ()) -> Results:
    """The trials of a folder of records, or of one record.

    Args:
        place: A folder, or a record's file.
        task: Only of these, each ``NAME`` (all its variants) or ``NAME:VARIANT``.
        model: Only of these, by name.

    Returns:
        All of them, sorted; files of the folder that are no records are left out, with a warning.

    Raises:
        UserError: there is no such folder or file, the file is no record, or there is none of a task.
    """
    path = Path(place)
    if path.suffix == ".json":
        try:
            return Results([Result(document.load(path), path)])
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path} can't be read as a record of this version: {reason}") from error
    store = Store(path)
    found = store.read()
    for file, reason in found.unreadable.items():
        warnings.warn(f"{file} is no record, left out: {reason}", stacklevel=2)
    tasks, models = ([one] if isinstance(one, str) else list(one) for one in (task, model))
    chosen = of_tasks(found.records, tasks)
    if tasks and not chosen:
        known = ", ".join(sorted({f"{record.task}:{record.variant}" for record in found.records})) or "none"
        raise UserError(f"{path} has no record of {', '.join(tasks)}; task variants there: {known}")
    return Results(Result(record, store.path(record.id)) for record in chosen if not models or record.model in models)


def of_tasks(records: Sequence[Record], tasks: Sequence[str]) -> list[Record]:
    """The records of these tasks, given as ``NAME`` (all its variants) or ``NAME:VARIANT``; of all where none is."""
    wanted = [(name, variant if ":" in given else None) for given in tasks for name, variant in [parse_task(given)]]
    return [
        record
        for record in records
        if not wanted or any(record.task == name and variant in (None, record.variant) for name, variant in wanted)
    ]

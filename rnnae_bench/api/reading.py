"""Records that lie on disk, as results."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from rnnae_bench.api.results import Result, Results
from rnnae_bench.errors import UserError
from rnnae_bench.records import document
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store


def load(
    place: str | Path = "runs",
    *,
    task: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    superseded: bool = False,
) -> Results:
    """The trials of a folder of records, or of one record.

    Args:
        place: A folder, or a record's file.
        task: Only of these, each ``NAME`` (all its variants) or ``NAME:VARIANT``.
        model: Only of these, by name.
        superseded: The records that later ones of the same trials replaced, the oldest first, instead.

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
    if superseded:
        found = Results(Result(record, file) for file, record in store.superseded().items())
    else:
        read = store.read()
        for file, reason in read.unreadable.items():
            warnings.warn(f"{file} is no record, left out: {reason}", stacklevel=2)
        found = Results(Result(record, store.path(record.id)) for record in read.records)
    return of_tasks(found, task, path).where(model=model)


def of_tasks(found: Results, task: str | Sequence[str], where: object) -> Results:
    """Those of some tasks, as `load` takes them.

    Args:
        found: All that there are.
        task: The tasks.
        where: What the results are of, for the refusal.

    Raises:
        UserError: there is none of them.
    """
    chosen = found.where(task=task)
    if task and not chosen:
        asked = task if isinstance(task, str) else ", ".join(task)
        known = ", ".join(sorted({f"{record.task}:{record.variant}" for record in found.records})) or "none"
        raise UserError(f"{where} has no record of {asked}; task variants there: {known}")
    return chosen


def begun(folder: str | Path) -> list[Record]:
    """What trials of a folder that have no record yet, as they run or were killed, have measured so far."""
    store = Store(Path(folder))
    drafts = [store.drafts.read(one) for one in store.drafts.identities() if store.find(one) is None]
    return [draft[0] for draft in drafts if draft is not None]

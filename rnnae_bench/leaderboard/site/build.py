"""From a folder of records to a folder of pages."""

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.site.data import Histories, drawn, for_entry
from rnnae_bench.leaderboard.site.folder import replaced
from rnnae_bench.leaderboard.site.pages import model_page, overview_page, record_page, slug, task_page
from rnnae_bench.rankings.bridging import Bridge, bridge, relation
from rnnae_bench.rankings.overview import overview
from rnnae_bench.rankings.standing import Entry, Standing, standings
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.report.samples.picture import picture
from rnnae_bench.report.trial_picture import title
from rnnae_bench.report.why import of_relation

_WORTH_PROCESSES = 500
"""Records from which on several processes are started."""

_DRAWN_SAMPLES = 200
"""Rows whose samples are drawn at most, the best of each task first: one takes up to a second."""


@dataclass(frozen=True)
class Built:
    """What a build made."""

    out: Path
    records: int
    tasks: int
    models: int
    files: int
    bytes: int
    unreadable: dict[Path, str]
    """Files that are no records, with the reason; they are left out."""
    without_histories: list[str]
    """Ids of the records whose histories can't be read; their pages have no pictures."""


def build(store: Store, out: Path) -> Built:
    """Write the site over a store's records; the same records give the same bytes.

    The folder is replaced whole, when all of it is written.

    Raises:
        UserError: there are no records, the folder holds something else than an earlier site, or it can't be written.
    """
    found = store.read()
    if not found.records:
        raise UserError(f"there are no records in {store.folder} to build a site from; 'rnnae-bench run' makes some")
    records = {record.id: record for record in found.records}
    with replaced(out) as folder:
        tables = standings(found.records)
        whole = overview(tables)
        for name in ("tasks", "models", "records"):
            (folder / name).mkdir()
        with as_file(files("rnnae_bench.leaderboard.site") / "assets") as assets:
            # Not by copytree, whose one error for all does not say that the disk is full.
            for asset in assets.rglob("*"):
                if asset.is_file():
                    copied = folder / "assets" / asset.relative_to(assets)
                    copied.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(asset, copied)
        places = sorted((place, table.setting) for table in tables for place in range(len(table.entries)))
        drawn = set(places[:_DRAWN_SAMPLES])
        jobs = [
            _Job(
                store,
                folder,
                table.setting,
                entry,
                [records[one] for one in entry.row.ids],
                (place, table.setting) in drawn,
            )
            for table in tables
            for place, entry in enumerate(table.entries)
        ]
        made = [*_all(jobs, len(records))]
        without = [identity for one in made for identity in one.without_histories]
        remaining = iter(made)
        by_model: dict[str, list[tuple[Standing, Entry]]] = {}
        for table in tables:
            rows = [next(remaining) for _ in table.entries]
            trials = [records[identity] for entry in table.entries for identity in entry.row.ids]
            related = of_relation(relation(trials, [one for row in rows for one in row.bridges]))
            pictures = {row.drawn["label"]: row.samples for row in rows if row.samples}
            page = task_page(table, records, [row.drawn for row in rows], related, pictures)
            _write(folder / "tasks" / f"{slug(table.setting)}.html", page)
            for entry in table.entries:
                by_model.setdefault(entry.row.model, []).append((table, entry))
        for model, results in by_model.items():
            _write(folder / "models" / f"{slug(model)}.html", model_page(model, results, whole, records))
        _write(folder / "index.html", overview_page(tables, whole, records.values()))
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Built(out, len(records), len(tables), len(by_model), len(sizes), sum(sizes), found.unreadable, without)


@dataclass(frozen=True)
class _Row:
    """What is known of a row once the pages of its records are written."""

    drawn: dict[str, Any]
    """What the task's page draws of it."""
    bridges: list[Bridge | None]
    """Of each trial, whether its gradient reached the lag that the task needs."""
    without_histories: list[str]
    """Ids of the records whose histories can't be read."""
    samples: str | None
    """Id of the trial whose samples are drawn; None where there are none."""


@dataclass(frozen=True)
class _Job:
    """The pages of one row's records."""

    store: Store
    folder: Path
    setting: str
    entry: Entry
    records: list[Record]
    draws_samples: bool

    def run(self) -> _Row:
        """Write them."""
        found = [_histories(self.store, record) for record in self.records]
        samples = self._draw_samples() if self.draws_samples else None
        for record, series in zip(self.records, found, strict=True):
            page = record_page(record, series, self.setting, self.entry.row.label, record.id == samples)
            _write(self.folder / "records" / f"{record.id}.html", page)
        without = [record.id for record, series in zip(self.records, found, strict=True) if series is None]
        histories = [series or {} for series in found]
        bridges = [bridge(record, series) for record, series in zip(self.records, histories, strict=True)]
        return _Row(for_entry(self.entry, self.records, histories), bridges, without, samples)

    def _draw_samples(self) -> str | None:
        """Draw the samples of the row's median trial beside its page; returns its id, None where there are none."""
        kept = [record for record in self.records if record.samples is not None and record.primary.value is not None]
        kept.sort(key=lambda record: (record.primary.value, record.seed))
        if not kept:
            return None
        record = kept[(len(kept) - 1) // 2]
        try:
            samples = self.store.samples(record)
            drawn = picture(samples, title(record)) if samples else None
        except (OSError, ValueError):
            return None
        if drawn is None:
            return None
        (self.folder / "records" / f"{record.id}.samples.png").write_bytes(drawn)
        return record.id


def _all(jobs: list[_Job], records: int) -> Iterator[_Row]:
    """Run the jobs, in several processes where that many records are worth it; results in the jobs' order."""
    if records < _WORTH_PROCESSES:
        yield from map(_Job.run, jobs)
        return
    # Not forked: the reader of the histories keeps threads.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_Job.run, jobs, chunksize=8)


def _histories(store: Store, record: Record) -> Histories | None:
    """The histories of a record; None where there are none that can be read."""
    try:
        return store.series(record, drawn)
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")

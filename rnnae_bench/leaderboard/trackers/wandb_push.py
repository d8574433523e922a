"""Records, standings and a report, published in a project on Weights & Biases."""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rnnae_bench.errors import UserError, missing_extra
from rnnae_bench.leaderboard.trackers import wandb_run
from rnnae_bench.leaderboard.trackers.wandb_client import plain_errors, quiet, wandb_client
from rnnae_bench.rankings.standing import Entry, Estimate, Standing, standings
from rnnae_bench.records.document import checksum, document_of
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.report.standing_tables import markdown_table, rank
from rnnae_bench.report.tables import number

Table = tuple[list[str], list[list[Any]]]
"""Columns and rows."""

LEADERBOARD = "leaderboard"
"""Id, name and job type of the run that holds the tables."""

TITLE = "rnnae-bench leaderboard"
"""Of the report, by which the next push finds it."""

COLUMNS = (
    "setting",
    "rank",
    "model",
    "devices",
    "seeds",
    "failed",
    "metric",
    "mean",
    "mean low",
    "mean high",
    "interquartile mean",
    "score",
    "score low",
    "score high",
    "remark",
)
"""Of the table of standings: one row an entry, intervals of 95 %."""


@dataclass
class Pushed:
    """What became of a push."""

    written: list[str] = field(default_factory=list)
    """Ids of the runs that were made, or made anew."""
    present: list[str] = field(default_factory=list)
    """Ids of the runs that were as they should be."""
    failed: dict[str, str] = field(default_factory=dict)
    """Ids of the runs that could not be made (``report``: the report), with the reason."""
    report: str | None = None
    """The report's URL; None offline."""

    @contextlib.contextmanager
    def attempt(self, what: str, attempt: str) -> Iterator[None]:
        """Note what goes wrong inside, and go on."""
        try:
            with plain_errors(attempt):
                yield
        except UserError as error:
            self.failed[what] = str(error)


@dataclass(frozen=True)
class Target:
    """Where a push goes.

    Args:
        entity: User or team.
        project: Its project; made where there is none.
        folder: Where the client keeps its files.
        mode: ``offline`` keeps the runs in the folder, for ``wandb sync``.
    """

    entity: str
    project: str
    folder: Path
    mode: Literal["online", "offline"] = "online"

    @property
    def path(self) -> str:
        """``ENTITY/PROJECT``."""
        return f"{self.entity}/{self.project}"

    @property
    def place(self) -> wandb_run.Place:
        """The same for `wandb_run`."""
        return wandb_run.Place(self.folder, self.mode, self.entity, self.project)


def push(
    api: Any,
    target: Target,
    store: Store,
    records: Sequence[Record],
    report: bool,
    tell: Callable[[str], None],
) -> Pushed:
    """Make the runs that the project lacks, the tables, and the report.

    A run whose record the project has is left alone; any other one of the same id is replaced.

    Args:
        api: W&B's public API, as from `connect`; None offline.
        target: Where to.
        store: The records' folder.
        records: The records.
        report: Whether to write the report; it can't be written offline.
        tell: Is told of each run before it is written.

    Raises:
        UserError: the project can't be read.
    """
    pushed = Pushed()
    there = _delivered(target) if api is None else _online(api, target)
    for record in records:
        identity, there_is = record.id, checksum(document_of(record))
        if there.get(identity) == there_is:
            pushed.present.append(identity)
            _note(target, identity, there_is)
            continue
        tell(record.trial)
        with pushed.attempt(identity, "write the run"):
            wandb_run.write(record, store.path(identity), store.series(record), target.place)
            _note(target, identity, there_is)
            pushed.written.append(identity)
    found = standings(records)
    tables = {
        "standings": (list(COLUMNS), [row for standing in found for row in table_rows(standing)]),
        "scores": score_table(found),
    }
    digest = hashlib.sha256(json.dumps(tables).encode()).hexdigest()
    if there.get(LEADERBOARD) == digest:
        pushed.present.append(LEADERBOARD)
        _note(target, LEADERBOARD, digest)
    else:
        tell("the tables")
        with pushed.attempt(LEADERBOARD, "write the tables"):
            _write_tables(target, tables, digest)
            _note(target, LEADERBOARD, digest)
            pushed.written.append(LEADERBOARD)
    if api is not None and report:
        tell("the report")
        with pushed.attempt("report", "write the report"):
            pushed.report = _write_report(api, target, found)
    return pushed


def _online(api: Any, target: Target) -> dict[str, str]:
    """By run id, the checksum of what the project has of it."""
    known = api.projects(target.entity)
    with plain_errors(f"read {target.path}"):
        if all(one.name != target.project for one in known):
            return {}
        runs = api.runs(target.path, per_page=200, lazy=False, include_sweeps=False)
        return {run.id: run.summary_metrics.get(wandb_run.CHECKSUM) for run in runs}


def _delivered(target: Target) -> dict[str, str]:
    """The same, as far as is known here: of what pushes from here wrote, offline, or found or wrote online."""
    notes = target.folder / "delivered"
    return {path.name: path.read_text(encoding="utf-8") for path in notes.iterdir()} if notes.is_dir() else {}


def _note(target: Target, identity: str, digest: str) -> None:
    notes = target.folder / "delivered"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / identity).write_text(digest, encoding="utf-8")


def table_rows(standing: Standing) -> Iterator[list[Any]]:
    """The rows of the table that a standing gives; their cells are `COLUMNS`."""
    for entry in standing.entries:
        row = entry.row
        yield [
            standing.setting,
            rank(entry),
            row.label,
            row.layout,
            len(entry.values),
            len(entry.failed),
            standing.metric,
            *_numbers(entry.mean),
            _numbers(entry.iqm)[0],
            *_numbers(entry.score),
            entry.unranked or "",
        ]


def score_table(found: Sequence[Standing]) -> Table:
    """Models as rows, task settings as columns, and in each cell the score of the mean over seeds; None without one.

    Of a model's entries of one setting on the same devices, which differ in how they were trained, a ranked one goes
    first, and then the one with the defaults; all are in the table of standings.
    """
    chosen: dict[tuple[str, str], dict[str, Entry]] = {}
    for standing in found:
        for entry in sorted(standing.entries, key=lambda one: (one.unranked is not None, one.row.is_varied)):
            chosen.setdefault((entry.row.label, entry.row.layout), {}).setdefault(standing.setting, entry)
    settings = [standing.setting for standing in found]
    rows = []
    for (model, devices), entries in sorted(chosen.items()):
        scores = [_numbers(entries[setting].score)[0] if setting in entries else None for setting in settings]
        rows.append([model, devices, sum(score is not None for score in scores), *scores])
    return ["model", "devices", "tasks", *settings], rows


def _numbers(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def _write_tables(target: Target, tables: Mapping[str, Table], digest: str) -> None:
    wandb = wandb_client()
    target.folder.mkdir(parents=True, exist_ok=True)
    with wandb.init(
        id=LEADERBOARD,
        name=LEADERBOARD,
        group=LEADERBOARD,
        job_type=LEADERBOARD,
        entity=target.entity,
        project=target.project,
        dir=target.folder,
        mode=target.mode,
        reinit="create_new",
        settings=quiet(watch_machine=False),
    ) as run:
        # Ranks and remarks stay text, and a column of numbers may have gaps.
        run.log(
            {
                name: wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
                for name, (columns, rows) in tables.items()
            }
        )
        run.summary[wandb_run.CHECKSUM] = digest


def require_reports() -> None:
    """Raise `UserError` where the package that writes reports is missing."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise missing_extra("the report (--no-report leaves it out)", "wandb-workspaces", "wandb")


def _write_report(api: Any, target: Target, found: Sequence[Standing]) -> str:
    """Write the report, in the place of the one of the same title if there is one; returns its URL."""
    # Written without a list of what it exports, and for an older pydantic, of which it warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        reports: Any = importlib.import_module("wandb_workspaces.reports.v2")
    report = reports.Report(
        entity=target.entity,
        project=target.project,
        title=TITLE,
        description="Written by 'rnnae-bench leaderboard push', and replaced by the next one.",
        width="fluid",
    )
    before = next((one for one in api.reports(target.path) if one.display_name == TITLE), None)
    if before is not None:
        report.id = before.id
    columns, rows = score_table(found)
    cells = [[str(cell) if isinstance(cell, int | str) else number(cell) for cell in row] for row in rows]
    report.blocks = [
        reports.TableOfContents(),
        reports.H2("all models on all tasks"),
        reports.P("Scores of the mean over seeds: 0 is the floor, 1 the ceiling. How sure each is, is told below."),
        reports.MarkdownBlock("\n".join(markdown_table(columns, cells))),
    ]
    for standing in found:
        report.blocks += _blocks(reports, target, standing)
    report.save()
    return str(report.url)


def _blocks(reports: Any, target: Target, standing: Standing) -> list[Any]:
    """The part of the report about one task variant: the table, and charts of its runs by model."""
    better = "higher" if standing.direction == "maximize" else "lower"
    runs = reports.Runset(
        entity=target.entity,
        project=target.project,
        name=standing.setting,
        filters=_having("setting", standing.setting),
        groupby=["config.label"],
    )
    charts = [
        reports.LinePlot(title=title, x=wandb_run.STEP, y=[column], log_y=log)
        for title, column, log in (
            ("training loss", "loss", False),
            (f"validation {standing.metric}", f"validation/{standing.metric}", False),
            ("gradient norm", "gradient_norm", True),
        )
    ]
    pictures = reports.MediaBrowser(title="gradients through time", media_keys=[wandb_run.HEATMAP])
    bounds = f"floor {number(standing.floor)}, ceiling {number(standing.ceiling)}"
    return [
        reports.H2(standing.setting),
        reports.P(f"{standing.metric}, {better} is better; {bounds}."),
        reports.MarkdownBlock(_table(standing)),
        reports.PanelGrid(runsets=[runs], panels=[*charts, pictures]),
    ]


def _having(key: str, value: str) -> Any:
    """A report's filter: runs with this value in their configuration."""
    from wandb_workspaces import expr

    return expr.And(expr.Config(key) == value)


def _table(standing: Standing) -> str:
    """A standing as a table in Markdown."""
    head = ("rank", "model", "seeds", f"mean {standing.metric}", "95 % interval", "score", "remark")
    rows = []
    for entry in standing.entries:
        mean, low, high = _numbers(entry.mean)
        remarks = [entry.unranked, f"{len(entry.failed)} failed" if entry.failed else None]
        cells = [
            rank(entry) or "-",
            entry.row.label,
            str(len(entry.values)),
            number(mean),
            "-" if low is None else f"{number(low)} to {number(high)}",
            number(_numbers(entry.score)[0]),
            ", ".join(remark for remark in remarks if remark),
        ]
        rows.append(cells)
    return "\n".join(markdown_table(head, rows))

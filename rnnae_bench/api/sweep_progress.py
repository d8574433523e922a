"""What a sweep shows while it runs: a live display on a terminal, a line for whatever happens elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.status import Status
from rich.table import Table

from rnnae_bench.api.display import NotebookLive, in_notebook
from rnnae_bench.rankings.rows import summarize
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.report.tables import number
from rnnae_bench.report.text import Text
from rnnae_bench.sweeps.executors.base import Advanced
from rnnae_bench.sweeps.executors.job import Job
from rnnae_bench.sweeps.grid import label

_SUMMARY_SECONDS = 30.0
"""Between two summaries where there is no terminal."""


class SweepProgress:
    """A sweep's `rnnae_bench.sweeps.driver.Watcher` that shows it. Use it as a context.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._to_come = self._steps_each = self._steps_done = 0
        self._steps: dict[str, int] = {}
        self._records: list[Record] = []
        self._running: dict[str, tuple[Job, int, float | None]] = {}
        self._started = self._last_summary = time.monotonic()
        self._waits: str | None = None
        self._status: Status | None = None
        self._live: Live | NotebookLive | None = None

    def __enter__(self) -> "SweepProgress":
        return self

    def __exit__(self, *_: object) -> None:
        for shown in (self._status, self._live):
            if shown is not None:
                shown.stop()
        self._status = self._live = None

    def checks(self, done: int, settings: int) -> None:
        """So many of the settings are checked."""
        if self._status is None:
            self._status = self._console.status(f"checking {settings} settings")
            self._status.start()
        if done == settings:
            self._status.stop()

    def notes(self, line: str) -> None:
        """Something worth knowing before the trials begin."""
        self._console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    def expects(self, steps: Mapping[str, int], done: Sequence[Record], to_come: int = 0, steps_each: int = 0) -> None:
        """The trials begin."""
        self._steps, self._records = dict(steps), list(done)
        self._to_come, self._steps_each = to_come, steps_each
        self._started = self._last_summary = time.monotonic()
        if in_notebook() and not self._console.quiet:
            self._live = NotebookLive()
            self._live.update(self._picture())
        elif self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def began(self, job: Job) -> None:
        """A job was started."""
        self._running[job.name] = (job, 0, None)

    def advanced(self, job: Job, event: Advanced) -> None:
        """A job is being worked on."""
        self._running[job.name] = (job, event.step, event.value)

    def ended(self, record: Record, here: bool) -> None:
        """A trial has its record."""
        self._running = {
            name: one
            for name, one in self._running.items()
            if name != record.id and any(each.identity != record.id for each in one[0].trials)
        }
        self._records.append(record)
        if record.id in self._steps:
            steps = self._steps.pop(record.id)
        else:
            steps = self._steps_each if self._to_come else 0
            self._to_come = max(0, self._to_come - 1)
        self._steps_done += steps if here else 0
        where = "" if here else " (by another sweep)"
        result: str = record.status
        if record.status == "ok":
            primary, seconds = record.primary, record.measures.training_seconds
            result = f"{primary.metric} {number(primary.value)}, {number(seconds)} s"
        elif record.failure:
            result = f"{result}: {record.failure.message}"
        row = summarize([record])[0]
        precision = "" if row.precision == "32-true" else f" in {row.precision}"
        devices = "" if row.devices == 1 else f" on {row.devices} devices"
        style = "red" if record.status not in ("ok", "skipped") else ""
        self._say(f"{row.label} on {row.setting}{precision}{devices}, seed {record.seed}: {result}{where}", style)

    def lost(self, job: Job, reason: str, again: bool) -> None:
        """A worker went away."""
        self._running.pop(job.name, None)
        then = "it will be tried again" if again else "it is given up"
        self._say(f"{_label(job)}: {reason}; {then}", "yellow")

    def waits(self, reason: str | None) -> None:
        """Why nothing is being started."""
        if reason is not None and reason != self._waits:
            self._say(f"waiting: {reason}", "yellow")
        self._waits = reason

    def tick(self) -> None:
        """Redraw, or now and then say how things stand."""
        if self._live is not None:
            self._live.update(self._picture())
        elif time.monotonic() - self._last_summary >= _SUMMARY_SECONDS:
            self._say(self.summary())

    def summary(self) -> str:
        """How things stand, in a line."""
        statuses = Counter(record.status for record in self._records)
        failed = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()) if name not in ("ok",))
        running = sum(len(job.trials) for job, _, _ in self._running.values())
        total = len(self._records) + len(self._steps) + self._to_come
        parts = [f"{len(self._records)} of {total} trials done", f"{running} running"]
        parts += [failed] if failed else []
        left = self._seconds_left()
        parts += [f"about {_duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        under_way = sum(step * len(job.trials) for job, step, _ in self._running.values())
        done = self._steps_done + under_way
        if not done:
            return None
        left = sum(self._steps.values()) + self._to_come * self._steps_each - under_way
        return (time.monotonic() - self._started) * max(0, left) / done

    def _say(self, text: str, style: str = "") -> None:
        self._last_summary = time.monotonic()
        self._console.print(Text(text, style=style), highlight=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        total = len(self._records) + len(self._steps) + self._to_come
        head = Table.grid(padding=(0, 1))
        head.add_row(ProgressBar(total=max(1, total), completed=len(self._records), width=30), self.summary())
        rows: list[RenderableType] = [head]
        for job, step, value in list(self._running.values())[:8]:
            of = job.draft.configuration.task.get("protocol", {}).get("max_steps")
            shown = f" {job.draft.primary.metric} {number(value)}" if value is not None else ""
            rows.append(Text(f"  step {step} of {of}{shown}: {_label(job)}", overflow="ellipsis", no_wrap=True))
        if len(self._running) > 8:
            rows.append(Text(f"  and {len(self._running) - 8} more"))
        for line in self._best():
            rows.append(Text(line, overflow="ellipsis", no_wrap=True))
        return Group(*rows)

    def _best(self) -> list[str]:
        """The best setting of each task so far."""
        found: dict[str, str] = {}
        for row in summarize(self._records):
            if row.mean is not None and row.setting not in found:
                found[row.setting] = f"  best on {row.setting}: {row.label}, {row.metric} {number(row.mean)}"
        return list(found.values())


def _label(job: Job) -> str:
    seeds = [str(one.seed) for one in job.trials]
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} trials as one (seeds {seeds[0]} to {seeds[-1]})"
    return f"{label(job.setting)}, {named}"


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(42.0), _duration(600.0), _duration(9000.0)
    ('42 s', '10 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

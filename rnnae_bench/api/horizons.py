"""The longest lag at which a model still solves a task: `horizon`."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.api.display import progress_console
from rnnae_bench.api.results import Result, Results
from rnnae_bench.api.sweep_progress import SweepProgress
from rnnae_bench.api.sweeping import chosen_options, meant
from rnnae_bench.api.wording import told_in_python
from rnnae_bench.errors import UserError, missing_extra
from rnnae_bench.options.durations import positive_seconds
from rnnae_bench.records.legible import printable
from rnnae_bench.report import cell, horizon_picture
from rnnae_bench.statistics.estimates import Estimate, median
from rnnae_bench.sweeps.driver import Watcher
from rnnae_bench.sweeps.grid import Named, label
from rnnae_bench.sweeps.horizon import Bounds, Bracket, plain
from rnnae_bench.sweeps.session import Reached, Session

if TYPE_CHECKING:
    import pandas

    from rnnae_bench.report.figure import Picture

HEADS = ("seed", "longest solved", "shortest not solved", "limited by", "tried")
"""Of the table."""


class Horizon:
    """How long a lag a model solves, under each of some seeds.

    Args:
        bounds: How far it was looked for.
        reached: What was found.
        out: Where the records lie.
    """

    def __init__(self, bounds: Bounds, reached: Reached, out: Path) -> None:
        self.bounds, self._reached = bounds, reached
        self.results = Results([Result(record, out / f"{record.id}.json") for record in reached.records])
        """All trials of it, ordinary ones."""

    @property
    def setting(self) -> str:
        """Task and model, with their options."""
        return label(self._reached.setting)

    @property
    def option(self) -> str:
        """The task's option that sets the lag."""
        return self._reached.option

    @property
    def longest(self) -> dict[int, int | None]:
        """The longest lag that was solved, by seed; None where none was."""
        return {one.seed: one.solved for one in self._reached.brackets}

    @property
    def median(self) -> Estimate:
        """Of `longest` over the seeds, with its 95 % interval from five on; where nothing was solved, it is 0."""
        return median([float(one or 0) for one in self.longest.values()])

    @property
    def bounds_only(self) -> dict[int, str]:
        """Seeds whose horizon may be longer than what was found, and what it was limited by."""
        return {one.seed: one.limit for one in self._reached.brackets if one.is_bound}

    @property
    def is_bound(self) -> bool:
        """Whether the median may be longer than it was found to be; not where those above it are bounds alone."""
        longest = [math.inf if seed in self.bounds_only else one or 0 for seed, one in self.longest.items()]
        return statistics.median(longest) != self.median.value

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "setting": self.setting,
            "task": self._reached.setting.task,
            "model": self._reached.setting.model,
            "option": self.option,
            "steps": self._reached.steps,
            "longest": self.bounds.longest,
            "ratio": self.bounds.ratio,
            "budget": self.bounds.budget,
            "seconds": self._reached.seconds,
            "median": asdict(self.median) | {"is_bound": self.is_bound},
            "sentence": self.sentence(),
            "seeds": [plain(one) for one in self._reached.brackets],
        }

    def sentence(self) -> str:
        """What was found, and what it leaves open."""
        seeds, within = len(self.longest), f"within {self._reached.steps:,} steps of training"
        over = f"median over {seeds} seeds" if seeds > 1 else f"seed {next(iter(self.longest))}"
        least = "at least " if self.is_bound else ""
        found = f"longest {self.option} solved {within}: {least}{self.median.text()} ({over})"
        if not any(self.longest.values()):
            found = f"no {self.option} that was tried is solved {within} ({seeds} seed{'s' * (seeds > 1)})"
        limits = list(dict.fromkeys(self.bounds_only.values()))
        if limits:
            of = f", for {len(self.bounds_only)} of {seeds} seeds" if seeds > 1 else ""
            found += f"; limited by the {' and the '.join(limits)}, not the model{of}"
        return f"{self.setting}: {found}"

    @property
    def note(self) -> str:
        """What the table rests on."""
        return (
            f"searched to a ratio of {self.bounds.ratio:g}; that who solves a {self.option} solves all shorter ones is "
            f"assumed, and what was tried shows where; {self._reached.seconds:.0f} s of training in all"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table, a row a seed, under `HEADS`."""
        return [
            (str(one.seed), _lag(one.solved), _lag(one.unsolved), one.limit, _tried(one))
            for one in self._reached.brackets
        ]

    def frame(self) -> "pandas.DataFrame":
        """A row a trial: seed, lag, whether it was solved, the metric, the status, the record's id."""
        try:
            import pandas
        except ImportError as error:
            raise missing_extra("a data frame", "pandas", "query") from error
        seeds = (plain(one) for one in self._reached.brackets)
        return pandas.DataFrame([{"seed": one["seed"], **each} for one in seeds for each in one["tried"]])

    def plot(self) -> "Picture":
        """The metric over the lag."""
        primary = self._reached.records[0].primary if self._reached.records else None
        if primary is None:
            raise UserError("nothing was tried, so there is nothing to draw; give it more budget")
        seeds = [plain(one) for one in self._reached.brackets]
        return horizon_picture.figure(
            self.setting, self.option, primary.metric, primary.solved_at, self.median.value, seeds
        )

    def __repr__(self) -> str:
        return printable(self.sentence())

    def _repr_html_(self) -> str:
        return cell.table_html(HEADS, self.rows(), f"{self.sentence()}; {self.note}")


def _lag(lag: int | None) -> str:
    return "-" if lag is None else str(lag)


def _tried(bracket: Bracket) -> str:
    words = [
        f"{one.lag} {'solved' if one.solved else 'not' if one.status == 'ok' else one.status}"
        for one in sorted(bracket.tried, key=lambda one: one.lag)
    ]
    if bracket.refused is not None:
        words.append(f"{bracket.refused[0]} refused: {bracket.refused[1]}")
    return ", ".join(words)


@told_in_python()
def horizon(
    task: Named,
    model: Named,
    *,
    seeds: int = 1,
    longest: int = 1000,
    ratio: float = 1.1,
    budget: str | float | None = None,
    out: str | Path = "runs",
    progress: bool = True,
    **options: Any,
) -> Horizon:
    """Find the longest lag at which a model solves a task within the task's steps, under each seed by itself.

    The task's option that sets the lag, as its card names it, is doubled from its value on, and bisected once it is not
    solved. Each lag that is tried is an ordinary trial with a record; what has one is not run again, so that a search
    that was stopped goes on where it was.

    Args:
        task: A name as for `run`.
        model: The same.
        seeds: How many, counting up.
        longest: The longest lag to try.
        ratio: How close the shortest lag that is not solved has to be to the longest that is.
        budget: Stop once all trials together have trained so long, in seconds or as ``10m``.
        out: Folder for the records.
        progress: Whether to show it.
        **options: As for `rnnae_bench.sweep`: its own (``precision``, ``workers``, ``match``, ...), or the model's.

    Raises:
        UserError: a name, an option or a value is wrong, or the task has no such option.
        KeyboardInterrupt: it was stopped; the same call goes on with what is left.
    """
    with meant(options), SweepProgress(progress_console(progress)) as shown:
        chosen = {"seeds": seeds, "out": str(out), **options}
        return reach(task, model, (longest, ratio, budget), chosen, shown, ("rnnae_bench.horizon",))


def reach(
    task: Named,
    model: Named,
    limits: tuple[int, float, str | float | None],
    options: Mapping[str, Any],
    watcher: Watcher,
    command: Sequence[str],
) -> Horizon:
    """As `horizon`, for whoever shows the progress.

    Args:
        task: As for `horizon`.
        model: The same.
        limits: Its ``longest``, ``ratio`` and ``budget``.
        options: Options of a sweep, or the model's.
        watcher: Is told everything.
        command: How it was asked for, for the records.
    """
    longest, ratio, budget = limits
    bounds = Bounds(longest, ratio, None if budget is None else positive_seconds(budget, "--budget"))
    chosen = chosen_options([task], [model], options)
    if chosen.search is not None:
        raise UserError("a horizon is of one setting: leave --search out")
    with Session(chosen, watcher, command) as session:
        return Horizon(bounds, session.reach(bounds), Path(chosen.out))

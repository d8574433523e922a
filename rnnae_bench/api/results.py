"""What the front door gives back: one trial or many, as records, modules, tables and pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.nested import flatten
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.rankings.rows import Row, summarize
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.report import cell
from rnnae_bench.report.tables import number

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from lightning import LightningModule
    from matplotlib.figure import Figure

    from rnnae_bench.api.predicting import Predictions
    from rnnae_bench.contracts.task import Task
    from rnnae_bench.rankings.equivalence import Comparison
    from rnnae_bench.records.history import Series


class Result:
    """One trial: its record, its histories, and the model that came of it.

    Args:
        record: The record.
        path: Its file.
        model: The trained module, where it was trained by this process.
        task: Its task, there.
    """

    def __init__(
        self, record: Record, path: Path, model: "LightningModule | None" = None, task: "Task | None" = None
    ) -> None:
        self.record, self.path, self._model, self._task = record, path, model, task

    @property
    def model(self) -> "LightningModule":
        """The trained module, on the CPU and in evaluation mode; a property: ``.model()`` would call the module.

        Raises:
            UserError: it was trained elsewhere, and no weights were kept.
        """
        if self._model is None and self.record.weights is not None:
            from rnnae_bench.trial.rebuild import model_of

            self._model = model_of(self.record, Store(self.path.parent))
        if self._model is None:
            raise UserError(
                f"record {self.path.stem} has no model here: its weights were not kept (run it with --keep weights, "
                'or keep="weights"); rnnae_bench.run(...) gives the model of a trial that it trains'
            )
        return self._model

    @property
    def task(self) -> "Task":
        """The task, its data ready.

        Raises:
            UserError: it is not installed here, or can't be made from the record.
        """
        if self._task is None:
            from rnnae_bench.trial.rebuild import task_of

            self._task = task_of(self.record)
        return self._task

    @property
    def series(self) -> "dict[str, Series]":
        """The histories, by name: the loss, gradient norms, metrics on the validation set, ..."""
        return Store(self.path.parent).series(self.record)

    @property
    def samples(self) -> "dict[str, np.ndarray] | None":
        """A few test rows, and the model's answers: ``rows``, ``inputs``, ``targets``, ``prediction``; None without.

        What else there may be stands in `rnnae_bench.records.samples`.
        """
        return Store(self.path.parent).samples(self.record)

    def predict(self, on: str = "test", rows: int | None = None) -> "Predictions":
        """What the trained model answers to an evaluation set: its rows, or some of them evenly spread.

        The model is `model`: the one that this process trained, or of kept weights. ``result.model(inputs)`` asks it
        for inputs of your own.

        Args:
            on: One of the task's evaluation sets.
            rows: How many rows; None takes all.

        Raises:
            UserError: there is no such set, or there is no model here.
        """
        from rnnae_bench.api.predicting import predicted

        return predicted(self, on, rows)

    def plot_samples(self) -> "Figure | None":
        """What the model made of the test set: images, forecasts, symbols, codes, ...; None where nothing is kept."""
        from rnnae_bench.report.samples.picture import figure
        from rnnae_bench.report.trial_picture import title

        return None if self.samples is None else figure(self.samples, title(self.record))

    def why(self) -> str:
        """What the gradient did at the lag that the task needs, in a sentence; empty where that can't be told."""
        from rnnae_bench.report.why import of_trial

        return of_trial(self.record, self.series)

    def frame(self) -> "pandas.DataFrame":
        """The record as a data frame of one row; see `Results.frame`."""
        return Results([self]).frame()

    def plot(self) -> "Figure":
        """The learning curve and the gradient norms, and below them the gradients through time where there are any."""
        from rnnae_bench.report.trial_picture import figure

        return figure(self.record, self.series)

    def __repr__(self) -> str:
        return f"<{_line(self._row)}>"

    def _repr_html_(self) -> str:
        return cell.html([self.record], self._picture())

    @property
    def _row(self) -> Row:
        return summarize([self.record])[0]

    def _picture(self) -> bytes | None:
        from rnnae_bench.report.heatmaps import as_png

        try:
            return as_png(self.plot())
        except (OSError, ValueError):
            return None


class Results(Sequence[Result]):
    """Trials in order; of one alone, its `record` and `model` are theirs too.

    Args:
        results: The trials.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        self._results = tuple(results)

    @overload
    def __getitem__(self, place: int) -> Result: ...

    @overload
    def __getitem__(self, place: slice) -> "Results": ...

    def __getitem__(self, place: int | slice) -> "Result | Results":
        found = self._results[place]
        return Results(found) if isinstance(found, tuple) else found

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    @property
    def records(self) -> list[Record]:
        """All records, in order."""
        return [one.record for one in self]

    def where(
        self, *, task: str | Sequence[str] = (), model: str | Sequence[str] = (), status: str | Sequence[str] = ()
    ) -> "Results":
        """Those of some tasks and models that ended so.

        Args:
            task: ``NAME`` (all its variants) or ``NAME:VARIANT``; ``[OPTION=VALUE,...]`` may follow.
            model: ``NAME`` or ``NAME[OPTION=VALUE,...]``.
            status: How they ended.

        Raises:
            UserError: a task's name or a bracket is malformed.
        """
        tasks, models, ends = ([one] if isinstance(one, str) else one for one in (task, model, status))
        of_tasks, of_models = [*map(_task_wanted, tasks)], [*map(parse_text, models)]
        return Results(
            one
            for one in self
            if (not of_tasks or any(_is_task(one.record, *wanted) for wanted in of_tasks))
            and (not of_models or any(_is_model(one.record, *wanted) for wanted in of_models))
            and (not ends or one.record.status in ends)
        )

    @property
    def record(self) -> Record:
        """The record of the only trial; `UserError` where there are several."""
        return self._only("record").record

    @property
    def model(self) -> "LightningModule":
        """The module of the only trial, as `Result.model`; `UserError` where there are several."""
        return self._only("model").model

    def _only(self, part: str) -> Result:
        if len(self) != 1:
            raise UserError(f"there are {len(self)} trials here, each with its own {part}; take one: results[0].{part}")
        return self[0]

    def frame(self) -> "pandas.DataFrame":
        """A row a trial, with the columns of ``rnnae-bench query --columns``.

        Raises:
            UserError: pandas is not installed.
        """
        from rnnae_bench.records.frame import data_frame

        return data_frame(self.records)

    def plot(self) -> "Figure":
        """One trial as `Result.plot`; of several, the primary metric and the gradient norm, a line a trial."""
        if len(self) == 1:
            return self[0].plot()
        from rnnae_bench.report.curves_picture import figure

        return figure([(one.record, one.series) for one in self])

    def equivalences(self) -> "list[Comparison]":
        """Whether precisions and numbers of devices change what a model reaches: a row for each of several."""
        from rnnae_bench.rankings import equivalence

        return equivalence.compare(self.records)

    def page(self, among: "Results | None" = None) -> str:
        """A page with the tables and a picture a row, as HTML that opens without a network.

        Args:
            among: All that are known, of which these are a choice: what a failed trial counts as rests on them.
        """
        from rnnae_bench.report.page import page

        places = {one.record.id: one for one in self}
        known = self.records if among is None else among.records
        return page(
            self.records, known, lambda record: places[record.id].series, lambda record: places[record.id].samples
        )

    def __repr__(self) -> str:
        return "\n".join(_line(row) for row in summarize(self.records)) or "no records"

    def _repr_html_(self) -> str:
        from rnnae_bench.report.heatmaps import as_png

        try:
            picture = as_png(self.plot()) if self else None
        except (OSError, ValueError):
            picture = None
        return cell.html(self.records, picture)


def _line(row: Row) -> str:
    """A row in words."""
    spread = "" if row.sd is None else f" ± {row.sd:.2g}"
    value = f"{row.metric} {number(row.mean)}{spread}" if row.mean is not None else f"no {row.metric}"
    seeds = f"seed {row.seeds[0]}" if row.trials == 1 else f"{row.trials} seeds"
    failed = f" ({row.failures})" if row.failures else ""
    layout = "" if row.layout == "1x cpu 32-true" else f" on {row.layout}"
    return printable(f"{row.label} on {row.setting}{layout}, {seeds}: {value}{failed}")


def _task_wanted(given: str) -> tuple[str, str | None, Mapping[str, Any]]:
    named, options = parse_text(given)
    name, variant = parse_task(named)
    return name, variant if ":" in named else None, options


def _is_task(record: Record, name: str, variant: str | None, options: Mapping[str, Any]) -> bool:
    return record.task == name and variant in (None, record.variant) and _has(record.configuration.task, options)


def _is_model(record: Record, name: str, options: Mapping[str, Any]) -> bool:
    return record.model == name and _has(record.configuration.model, options)


def _has(configuration: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a trial had these options, by default or because they were given."""
    had = flatten(configuration)
    return all(option in had and had[option] == value for option, value in options.items())

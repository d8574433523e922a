"""Who is better, and whether it is real: `compare` and `standings`."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rnnae_bench.api.reading import load
from rnnae_bench.api.results import Results
from rnnae_bench.api.wandb_runs import fetched
from rnnae_bench.errors import UserError, missing_extra
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.rankings import standing
from rnnae_bench.rankings.contrast import Contrast, Elsewhere, contrasts, folder_contrasts
from rnnae_bench.rankings.examples import Sampling, over_examples
from rnnae_bench.rankings.overview import Overview, overview
from rnnae_bench.rankings.standing import MINIMUM_SEEDS, Standing
from rnnae_bench.records.legible import printable
from rnnae_bench.records.store import Store
from rnnae_bench.report import cell, standing_tables
from rnnae_bench.report.tables import solved

if TYPE_CHECKING:
    import pandas
    from numpy import ndarray


_WIDTH = 110
"""Characters of a line in the plain form of standings."""


class Comparison:
    """Two sides, on every task setting that both have: what differs, and what it costs.

    Args:
        contrasts: One a task setting.
        samplings: What each would be on other test examples.
    """

    def __init__(self, contrasts: Sequence[Contrast], samplings: Sequence[Sampling]) -> None:
        self.contrasts, self.samplings = tuple(contrasts), tuple(samplings)

    def as_dicts(self) -> list[dict[str, Any]]:
        """All of it as plain data."""
        together = zip(self.contrasts, self.samplings, strict=True)
        return [one.as_dict() | {"test_examples": asdict(other)} for one, other in together]

    def frame(self) -> "pandas.DataFrame":
        """A row a task setting: the sides, the difference with its interval, and the verdict."""
        return _frame(
            {
                "setting": one.standing.setting,
                "metric": one.standing.metric,
                "first": one.first.name,
                "second": one.second.name,
                "seeds": one.comparison.seeds,
                "difference": getattr(one.comparison.difference, "value", None),
                "low": getattr(one.comparison.difference, "low", None),
                "high": getattr(one.comparison.difference, "high", None),
                "p": one.comparison.p,
                "verdict": one.comparison.verdict,
            }
            for one in self.contrasts
        )

    def __repr__(self) -> str:
        return "\n".join(printable(one.sentence()) for one in self.contrasts)

    def _repr_html_(self) -> str:
        heads = ("task", "first", "second", "difference", "seeds", "verdict")
        rows = [
            (
                one.standing.setting,
                f"{one.first.name}: {standing_tables.interval(one.first.entry.mean)}",
                f"{one.second.name}: {standing_tables.interval(one.second.entry.mean)}",
                "-" if one.comparison.difference is None else one.comparison.difference.text(signed=True),
                str(one.comparison.seeds),
                one.sentence(),
            )
            for one in self.contrasts
        ]
        return cell.table_html(heads, rows)


class Standings(Sequence[Standing]):
    """The models of each task setting in the order that the data support.

    Args:
        standings: One a task setting.
        overview: All models on all of them; None where it was not asked for.
    """

    def __init__(self, standings: Sequence[Standing], overview: Overview | None) -> None:
        self._standings, self.overview = tuple(standings), overview

    def __getitem__(self, place: Any) -> Any:
        return self._standings[place]

    def __len__(self) -> int:
        return len(self._standings)

    def frame(self) -> "pandas.DataFrame":
        """A row a model and task setting: the ranks that fit the data, mean and score with their intervals."""
        return _frame(
            {
                "setting": one.setting,
                "metric": one.metric,
                "model": entry.row.label,
                "on": entry.row.layout,
                "best_rank": None if entry.ranks is None else entry.ranks[0],
                "worst_rank": None if entry.ranks is None else entry.ranks[1],
                "seeds": len(entry.values),
                "solved": entry.row.solved,
                "tried": entry.row.tried,
                **{
                    f"{name}{part}": getattr(estimate, field, None)
                    for name, estimate in (
                        ("mean", entry.mean),
                        ("iqm", entry.iqm),
                        ("score", entry.score),
                        ("solve_probability", entry.row.solve_probability),
                    )
                    for part, field in (("", "value"), ("_low", "low"), ("_high", "high"))
                },
            }
            for one in self
            for entry in one.entries
        )

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=_WIDTH, force_jupyter=False, force_terminal=False)
        with console.capture() as captured:
            for table in standing_tables.terminal(self._standings, console):
                console.print(table)
        return captured.get().rstrip() or "no records"

    def _repr_html_(self) -> str:
        heads = ("rank", "model", "seeds", "mean", "score", "solved")
        return "".join(
            cell.table_html(
                heads,
                [
                    (
                        standing_tables.rank(entry),
                        entry.row.label,
                        standing_tables.seeds(entry),
                        standing_tables.interval(entry.mean),
                        standing_tables.interval(entry.score),
                        solved(entry.row),
                    )
                    for entry in one.entries
                ],
                "; ".join(filter(None, (standing_tables.title(one), standing_tables.unequal(one)))),
            )
            for one in self
        )


def compare(
    first: "str | Path | Results",
    second: "str | Path | Results",
    *,
    source: str | Path = "runs",
    task: str | Sequence[str] = (),
    model: str | None = None,
) -> Comparison:
    """Two sides on the seeds that both have: the difference, whether it is real, and what it costs.

    Args:
        first: A model (``gru``, ``gru[hidden_size=64]``), a record's id or its beginning, a folder of records, the
            results of `run`, `sweep` or `load`, or somebody's run on W&B, ``wandb:ENTITY/PROJECT/RUN``.
        second: The same, a folder or results where the first is; or a baseline of the task.
        source: Folder of records, where the sides are names.
        task: Only on these.
        model: With two folders or results: only this model.

    Raises:
        UserError: a side names nothing or more than one thing, or nothing is in common; or a run can't be fetched, or
            has no record that can be trusted.
    """
    with fetched((first, second), task) as runs:
        found, stores = _contrasts((first, second), runs, source, task, model)
        samplings = [over_examples(one, stores[0], stores[1], partial(_baseline_scores, one)) for one in found]
    return Comparison(found, samplings)


def _contrasts(
    given: "tuple[str | Path | Results, str | Path | Results]",
    runs: Sequence[Results | None],
    source: str | Path,
    task: str | Sequence[str],
    model: str | None,
) -> tuple[list[Contrast], list[Store]]:
    """The contrasts of two sides, either of which may be a fetched run, and where the histories of each side lie."""
    first, second = given
    one, other = (run or _side(side, task) for side, run in zip(given, runs, strict=True))
    named = f"{_name(first)} and {_name(second)}"
    if one is not None and other is not None and not all(runs):
        labels = [{record.label for record in side.records} for side in (one, other)]
        if model is None and all(len(found) == 1 for found in labels) and labels[0] != labels[1]:
            # Two models, rather than one in two places.
            found = contrasts([*one.records, *other.records], labels[0].pop(), labels[1].pop())
        else:
            found = folder_contrasts((_name(first), one.records), (_name(second), other.records), model)
        return found, [_store(one), _store(other)]
    if model is not None:
        raise UserError(f"model {model} is for two folders or results, and {named} are not both folders")
    if not (isinstance(first, str) and isinstance(second, str)):
        raise UserError(f"cannot compare {_name(first)} with {_name(second)}: give two names, folders or results")
    records = [] if all(runs) else _some(load(source, task=task), source).records
    operand, beside = (
        side if run is None else Elsewhere(side, run.records[0])
        for side, run in zip((first, second), runs, strict=True)
    )
    stores = [Store(Path(source)) if run is None else _store(run) for run in runs]
    return contrasts(records, operand, beside), stores


def standings(
    source: "str | Path | Results" = "runs", *, task: str | Sequence[str] = (), minimum_seeds: int = MINIMUM_SEEDS
) -> Standings:
    """Who is ahead on each task setting, with the ranks that are compatible with the data.

    Args:
        source: A folder of records, or the results of `run`, `sweep` or `load`.
        task: Only on these.
        minimum_seeds: How many seeds a rank needs; two at least.

    Raises:
        UserError: there is no such folder, or no record of a task; or too few seeds are asked for.
    """
    if minimum_seeds < 2:
        raise UserError(f"minimum seeds {minimum_seeds}: one seed has no interval and no test; give 2 or more")
    results = source if isinstance(source, Results) else load(source, task=task)
    found = standing.standings(results.records, minimum_seeds)
    return Standings(found, None if task else overview(found))


def _side(given: "str | Path | Results", task: str | Sequence[str]) -> Results | None:
    """The results that are meant; None where it is a name."""
    if isinstance(given, Results):
        return _some(given, "the results")
    return _some(load(given, task=task), given) if Path(given).is_dir() else None


def _name(given: "str | Path | Results") -> Path:
    return Path(f"{len(given)} trials of {given[0].path.parent}" if isinstance(given, Results) else given)


def _some(results: Results, where: object) -> Results:
    if not results:
        raise UserError(f"{where} has no record of anything; task variants there: none")
    return results


def _store(results: Results) -> Store:
    return Store(results[0].path.parent)


def _baseline_scores(one: Contrast, name: str) -> "tuple[str, ndarray] | None":
    """The test set's fingerprint and a baseline's score of each of its examples, computed by the task.

    None where the task, or this setting of it, is not here, or does not tell them.
    """
    where = one.standing
    if where.setting != f"{where.task}:{where.variant}":
        return None
    try:
        task = tasks().get(where.task).load().from_variant(where.variant)
        answer, examples = task.baseline_answer(name), task.evaluation_set("test")
    except UserError:
        return None
    scores = None if answer is None else task.example_scores(where.metric, answer.float(), examples)
    return None if scores is None else (task.fingerprint()["test"], scores.double().numpy())


def _frame(rows: Any) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("a data frame", "pandas", "query") from error
    return pandas.DataFrame(list(rows))

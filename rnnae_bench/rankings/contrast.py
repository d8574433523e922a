"""Two entries side by side: the difference, what each of them costs, and where their configurations differ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import flatten
from rnnae_bench.rankings.rows import Row
from rnnae_bench.rankings.solving import Solving, side_by_side
from rnnae_bench.rankings.standing import (
    MINIMUM_SEEDS,
    Comparison,
    Entry,
    Estimate,
    Standing,
    Verdict,
    compare,
    standings,
)
from rnnae_bench.rankings.terms import unequal
from rnnae_bench.records.record import Record
from rnnae_bench.statistics.paired import probability
from rnnae_bench.statistics.survival import Quantile

_COSTS = ("training_seconds", "peak_memory_bytes", "parameters", "state_size", "steps_to_solve")

_SHOWN = 20
"""Names that an error lists at most."""


@dataclass(frozen=True)
class Side:
    """One of the two: an entry under the name that the user gave it."""

    name: str
    entry: Entry
    standing: Standing
    records: tuple[Record, ...]
    """All of its records, which have the same configuration; none of a baseline."""

    @property
    def is_baseline(self) -> bool:
        """Whether it is no model but one of the task's baselines."""
        return not self.records


@dataclass(frozen=True)
class Contrast:
    """Two entries of one task setting."""

    first: Side
    second: Side
    comparison: Comparison

    @property
    def standing(self) -> Standing:
        """The task setting: names, metric, floor and ceiling."""
        return self.first.standing

    @property
    def among(self) -> tuple[float, Verdict] | None:
        """Corrected p and verdict of the same two among all ranked rows of their standing, which its ranks rest on."""
        one, other, pairs = self.first.entry.key, self.second.entry.key, self.standing.comparisons
        found = pairs.get((one, other)) or pairs.get((other, one))
        if self.second.standing is not self.standing or found is None or found.corrected is None:
            return None
        turned: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
        return found.corrected, found.verdict if found.first == one else turned.get(found.verdict, found.verdict)

    @property
    def ranked(self) -> int:
        """How many rows of the standing have a rank: the family that `among` is corrected for."""
        return sum(entry.unranked is None for entry in self.standing.entries)

    def costs(self) -> dict[str, tuple[float | int | None, float | int | None, float | None]]:
        """Costs of both (as in `Row`), and the first's as a multiple of the second's.

        None where there is no value, and for a multiple of memories that were not measured in the same way.
        """
        found = {}
        kinds = {side.records[0].measures.by_name.get("memory_kind") for side in self._models()}
        for name in _COSTS:
            one, other = (_cost(side.entry.row, name) for side in (self.first, self.second))
            comparable = name != "peak_memory_bytes" or len(kinds) == 1
            found[name] = (one, other, one / other if comparable and one is not None and other else None)
        return found

    @cached_property
    def solving(self) -> Solving | None:
        """How often and how fast the two solve the task; None beside a baseline, which has no trials."""
        return None if len(self._models()) < 2 else side_by_side(self.first.records, self.second.records)

    def configuration(self) -> dict[str, tuple[Any, Any]]:
        """What differs, by dotted name; None where one of them has no such option. Nothing beside a baseline."""
        if len(self._models()) < 2:
            return {}
        one, other = (_options(side.records[0]) for side in self._models())
        return {
            name: (one.get(name), other.get(name))
            for name in sorted(one.keys() | other.keys())
            if one.get(name) != other.get(name)
        }

    def unequal(self) -> list[str]:
        """What one of the two had more of, in words; nothing beside a baseline."""
        if len(self._models()) < 2:
            return []
        return unequal(self.first.entry.row, self.second.entry.row, (self.first.name, self.second.name))

    def _models(self) -> list[Side]:
        return [side for side in (self.first, self.second) if not side.is_baseline]

    def sentence(self) -> str:
        """The verdict; and, where it is on models of other sizes or of which one was tuned, that it is."""
        terms = "" if self.comparison.difference is None else "; and ".join(self.unequal())
        return self._verdict() + (f"; not on equal terms: {terms}" if terms else "")

    def _verdict(self) -> str:
        first, second, found = self.first.name, self.second.name, self.comparison
        where, metric = self.standing.setting, self.standing.metric
        if found.difference is None:
            return f"nothing can be said of {first} and {second} on {where}: they have no seed in common"
        measured = f"{metric} {found.difference.text(signed=True)}, {found.seeds} shared seed{'s' * (found.seeds != 1)}"
        measured += "" if found.p is None else f", {probability(found.p)}"
        if found.verdict in ("better", "worse"):
            return f"{first} is {found.verdict} than {second} on {where}: {measured}"
        if found.verdict == "too few seeds":
            return f"too few seeds for a verdict on {first} and {second} on {where}: {measured}"
        more = found.more_seeds
        advice = "no number of seeds up to 1000 more would probably show one of this size"
        if more is not None:
            advice = f"about {more} more seed{'s' * (more != 1)} would probably show one of this size"
        return f"no difference between {first} and {second} on {where} is established: {measured}; {advice}"

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "setting": self.standing.setting,
            "metric": self.standing.metric,
            "direction": self.standing.direction,
            "sentence": self.sentence(),
            "unequal": self.unequal(),
            **{
                part: {
                    "name": side.name,
                    "values": side.entry.values,
                    "failed": side.entry.failed,
                    **{
                        name: None if estimate is None else asdict(estimate)
                        for name, estimate in (
                            ("mean", side.entry.mean),
                            ("median", side.entry.median),
                            ("iqm", side.entry.iqm),
                            ("score", side.entry.score),
                            ("solve_probability", side.entry.row.solve_probability),
                            ("solving", side.entry.solving),
                        )
                    },
                    "ids": side.entry.row.ids,
                }
                for part, side in (("first", self.first), ("second", self.second))
            },
            "comparison": asdict(self.comparison) | {"first": self.first.name, "second": self.second.name},
            "solving": None if self.solving is None else asdict(self.solving),
            "among": None
            if self.among is None
            else {"rows": self.ranked, "corrected": self.among[0], "verdict": self.among[1]},
            "costs": {
                name: {"first": one, "second": other, "ratio": ratio}
                for name, (one, other, ratio) in self.costs().items()
            },
            "configuration": {
                name: {"first": one, "second": other} for name, (one, other) in self.configuration().items()
            },
        }


@dataclass(frozen=True)
class Elsewhere:
    """A record that is not among those where names are looked for; another record may have its id there.

    Args:
        name: Where it lies, for the reader.
        record: The record.
    """

    name: str
    record: Record

    def __str__(self) -> str:
        return self.name

    def sides(self) -> dict[str, Side]:
        """It alone, by its task setting."""
        (standing,) = standings([self.record])
        entry = next(one for one in standing.entries if self.record.id in one.row.ids)
        return {standing.setting: _side(f"{self.name}: {entry.row.label}", entry, standing, [self.record])}


def contrasts(
    records: Sequence[Record], first: str | Elsewhere, second: str | Elsewhere, minimum_seeds: int = MINIMUM_SEEDS
) -> list[Contrast]:
    """Two operands on every task setting that both have records of.

    Args:
        records: Where to look for names.
        first: A model's label (``gru``, ``gru[hidden_size=64]``), an entry's key, a record's id or its beginning, or a
            record of elsewhere.
        second: The same. One of the two may be a baseline of the task.
        minimum_seeds: Shared seeds that a verdict needs.

    Raises:
        UserError: an operand names nothing or more than one thing, there is no setting that has both, or they were not
            measured by the same metric.
    """
    found = standings(records)
    named = {entry.row.label for standing in found for entry in standing.entries}
    outside = [one.sides() if isinstance(one, Elsewhere) else None for one in (first, second)]
    ranked = [*found, *(side.standing for sides in outside if sides for side in sides.values())]
    known = {name for standing in ranked for name in standing.baselines} - named
    baselines = [one if isinstance(one, str) and one in known else None for one in (first, second)]
    if None not in baselines:
        raise UserError(f"{first} and {second} are both baselines; name a model or a record for one of them")
    ones, others = (
        {} if baseline else sides or _sides(found, records, str(operand))
        for operand, sides, baseline in zip((first, second), outside, baselines, strict=True)
    )
    ones = ones or _baselines(baselines[0], others)
    others = others or _baselines(baselines[1], ones)
    common = [setting for setting in ones if setting in others]
    if not common:
        raise UserError(
            f"cannot compare {first} with {second}: no task variant has records of both "
            f"({first}: {', '.join(ones)}; {second}: {', '.join(others)})"
        )
    return [_contrast(ones[setting], others[setting], minimum_seeds) for setting in common]


def folder_contrasts(
    first: tuple[Path, Sequence[Record]],
    second: tuple[Path, Sequence[Record]],
    model: str | None,
    minimum_seeds: int = MINIMUM_SEEDS,
) -> list[Contrast]:
    """The same models in two folders, on every task setting that both folders have of them.

    Args:
        first: A folder and its records.
        second: The other.
        model: A model's label or an entry's key; None for all that are in both.
        minimum_seeds: Shared seeds that a verdict needs.

    Raises:
        UserError: the model is not in both folders, or they have nothing in common.
    """
    if model is not None:
        ones, others = (
            [
                (model, setting, side)
                for setting, side in _sides(standings(records), records, model, f"{path}: {model}").items()
            ]
            for path, records in (first, second)
        )
    else:
        ones, others = (
            [
                (entry.row.label, standing.setting, _side(f"{path}: {entry.row.label}", entry, standing, records))
                for standing in standings(records)
                for entry in standing.entries
            ]
            for path, records in (first, second)
        )
    found = [
        _contrast(one, other, minimum_seeds)
        for label, setting, one in ones
        for name, place, other in others
        if (label, setting) == (name, place)
    ]
    if not found:
        what = f"{model} on the same task variant" if model else "a model and task variant in common"
        raise UserError(f"cannot compare {first[0]} with {second[0]}: they don't have {what}")
    return found


def _sides(
    found: Sequence[Standing], records: Sequence[Record], operand: str, name: str | None = None
) -> dict[str, Side]:
    """What the operand names, by task setting: of entries with one label, the one that has it as its key."""
    matching: dict[str, Side] = {}
    for standing in found:
        named = [entry for entry in standing.entries if entry.row.label == operand]
        named = named if len(named) == 1 else [one for one in standing.entries if one.key == operand] or named
        if len(named) > 1:
            layouts = (f"{one.key} ({one.row.layout})" for one in named)
            raise UserError(f"{operand} names {len(named)} entries of {standing.setting}; name one: {_list(layouts)}")
        if named:
            matching[standing.setting] = _side(name or operand, named[0], standing, records)
    if matching:
        return matching
    beginning = [record for record in records if len(operand) >= 4 and record.id.startswith(operand)]
    if len(beginning) > 1:
        ids = (record.id for record in beginning)
        raise UserError(f"{operand} is the beginning of {len(beginning)} records' ids; name one: {_list(ids)}")
    if beginning:
        (standing,) = standings(beginning)
        label = f"{standing.entries[0].row.label} seed {beginning[0].seed} ({beginning[0].id[:8]})"
        return {standing.setting: _side(label, standing.entries[0], standing, beginning)}
    known = sorted({entry.row.label for standing in found for entry in standing.entries})
    where = f" of {found[0].setting}" if len(found) == 1 else ""
    raise UserError(f"there is no model or record '{operand}' among the records{where}; models: {_list(known)}")


def _side(name: str, entry: Entry, standing: Standing, records: Sequence[Record]) -> Side:
    return Side(name, entry, standing, tuple(record for record in records if record.id in entry.row.ids))


def _baselines(name: str | None, beside: dict[str, Side]) -> dict[str, Side]:
    return {place: _baseline(name, side) for place, side in beside.items() if name and name in side.standing.baselines}


def _baseline(name: str, beside: Side) -> Side:
    """A baseline beside an entry: the same value under each of its seeds, at no cost."""
    standing, value = beside.standing, beside.standing.baselines[name]
    constant = Estimate(value, value, value)
    rising = standing.direction == "maximize"
    solved = value >= standing.solved_at if rising else value <= standing.solved_at
    row = replace(
        beside.entry.row,
        model=name,
        overrides={},
        statuses={},
        mean=value,
        sd=None,
        minimum=value,
        maximum=value,
        score=None,
        tried=len(beside.entry.values),
        solved=len(beside.entry.values) if solved else 0,
        solve_probability=None,
        more_seeds=None,
        steps_to_solve=None,
        training_seconds=None,
        steps_per_second=None,
        peak_memory_bytes=None,
        parameters=None,
        state_size=None,
        state_size_per_step=None,
        tuned=None,
        match=None,
        ids=[],
    )
    entry = replace(
        beside.entry,
        key=name,
        row=row,
        values=dict.fromkeys(beside.entry.values, value),
        failed=(),
        mean=constant,
        median=constant,
        iqm=constant,
        score=None,
        unranked="a baseline",
        ranks=None,
        solving=None,
    )
    return Side(name, entry, standing, ())


def _cost(row: Row, name: str) -> float | int | None:
    """A cost of a row; of the steps to solve the median."""
    value = getattr(row, name)
    return value.value if isinstance(value, Quantile) else value


def _contrast(first: Side, second: Side, minimum_seeds: int) -> Contrast:
    one, other = ((side.standing.metric, side.standing.direction) for side in (first, second))
    if one != other:
        told = " and ".join(f"{side.name} by {side.standing.metric}" for side in (first, second))
        raise UserError(f"cannot compare on {first.standing.setting}: it was measured of {told}")
    return Contrast(first, second, compare(first.entry, second.entry, first.standing.direction, minimum_seeds))


def _list(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "") or "none"


def _options(record: Record) -> dict[str, Any]:
    """The configuration, flat; with the model, the device and the plugins' versions."""
    there = record.environment
    found: dict[str, Any] = {"model": record.model, "data_seed": record.data_seed}
    found |= {"environment.accelerator": there.accelerator, "environment.devices": there.devices}
    found |= {"environment.precision": there.precision}
    found |= {f"environment.plugins.{name}": version for name, version in there.plugins.items()}
    return found | flatten(to_builtins(record.configuration))

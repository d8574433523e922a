"""What a precision or a number of devices costs and wins, against the same trials in another.

Trials are paired by their seeds, so that what the seeds have in common drops out of the difference.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rnnae_bench.rankings.counting import distinct
from rnnae_bench.records.identity import LAYOUT, row_key
from rnnae_bench.records.record import Record, label, setting
from rnnae_bench.statistics import paired

_OF_SPREAD, _OF_LEAD = 0.5, 0.1
"""How large a difference is taken for none: a fraction of the standard deviation over seeds, and of the distance to the
best baseline; the smaller of the two."""

_MOST_PRECISE_FIRST = ("64-true", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true")
Verdict = Literal["reference", "equivalent", "different", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """The trials of one model on one task in one precision on so many devices, against the reference."""

    task: str
    variant: str
    model: str
    overrides: dict[str, Any]
    """What differs from the pair's defaults, but for precision and devices."""
    accelerator: str
    precision: str
    devices: int
    reference: str
    """What it is compared with, such as ``32-true x1``."""
    metric: str
    statuses: dict[str, int]
    seeds: int
    """Seeds that ended ``ok`` here and in the reference: those that are compared."""
    difference: float | None
    """Mean over these of the primary metric here less that of the reference."""
    interval: tuple[float, float] | None
    """Interval of the difference with 95 % confidence, by Student's t; None below two seeds."""
    margin: float
    """Differences up to this, in the metric's units, are taken for none; of `margin`."""
    verdict: Verdict
    """``different``: the interval leaves zero out, as it does wherever ranks tell two apart; or a seed diverged that
    did not in the reference. ``equivalent``: it has zero in it, and lies within the margin on both sides.
    ``undecided``: neither, or no interval (Lakens 2017, Equivalence Tests: A Practical Primer)."""
    speed_up: float | None
    """Training seconds of the reference over those here, the geometric mean over the seeds that ran under the same
    conditions: device, threads, and not trained as one with others."""
    memory: float | None
    """Peak memory here over that of the reference, likewise."""
    underflow: float | None
    """Mean fraction of the gradient's components that underflowed."""
    reference_underflow: float | None
    """The same of the reference."""

    @property
    def layout(self) -> str:
        """Precision and devices, as ``bf16-mixed x2``."""
        return f"{self.precision} x{self.devices}"

    @property
    def setting(self) -> str:
        """Task setting and model in a line."""
        return f"{setting(self.task, self.variant, self.overrides)} {label(self.model, self.overrides)}"

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def compare(records: Iterable[Record]) -> list[Comparison]:
    """A row for each precision and number of devices of every model on every task that was run in more than one.

    The reference is 32-true on one device or, where that was not run, the most precise there is on the fewest devices;
    it is the first row, and compared with itself.

    Args:
        records: Any; what was run in one way only is left out.
    """
    groups: dict[str, dict[tuple[str, int], list[Record]]] = {}
    for record in distinct(records):
        layouts = groups.setdefault(row_key(record, any_layout=True), {})
        layouts.setdefault((record.environment.precision, record.environment.devices), []).append(record)
    rows = []
    for _, layouts in sorted(groups.items()):
        if len(layouts) > 1:
            order = sorted(layouts, key=_rank)
            rows += [_comparison(layouts[each], layouts[order[0]]) for each in order]
    return rows


def judge(interval: tuple[float, float] | None, margin: float) -> Verdict:
    """Whether a difference with that interval is none, one, or can't be said; as `Comparison.verdict`."""
    if interval is None:
        return "undecided"
    low, high = interval
    if low > 0 or high < 0:
        return "different"
    return "equivalent" if -margin <= low and high <= margin else "undecided"


def margin(first: Sequence[float], second: Sequence[float], baselines: Iterable[float], direction: str) -> float:
    """What difference of two means is taken for none, in the metric's units.

    Half the standard deviation over seeds, so that another seed matters more; or a tenth of the distance of the
    reference from the best baseline, if that is less, so that it doesn't change what the model is worth.

    Args:
        first: Values under several seeds.
        second: The same of the reference.
        baselines: The same metric of what needs no training.
        direction: ``maximize`` or ``minimize``.
    """
    if not first or not second:
        return 0.0
    known = [(statistics.variance(values) if len(values) > 1 else 0.0) for values in (first, second)]
    spread = _OF_SPREAD * statistics.fmean(known) ** 0.5
    best = max(baselines, default=None) if direction == "maximize" else min(baselines, default=None)
    return spread if best is None else min(spread, _OF_LEAD * abs(statistics.fmean(second) - best))


def _rank(layout: tuple[str, int]) -> tuple[Any, ...]:
    precision, devices = layout
    known = precision in _MOST_PRECISE_FIRST
    place = _MOST_PRECISE_FIRST.index(precision) if known else len(_MOST_PRECISE_FIRST)
    return (layout != ("32-true", 1), place, precision, devices)


def _comparison(here: Sequence[Record], there: Sequence[Record]) -> Comparison:
    first, reference = here[0], there[0]
    pairs = _pairs(here, there)
    values, others = [_value(mine) for mine, _ in pairs], [_value(other) for _, other in pairs]
    differences = [mine - other for mine, other in zip(values, others, strict=True)]
    found = paired.difference(differences) if differences else None
    interval = None if found is None or found.low is None or found.high is None else (found.low, found.high)
    metric, direction = reference.primary.metric, reference.primary.direction
    known = [value for one in reference.baselines.values() if (value := one.get(metric)) is not None]
    span = margin(values, others, known, direction)
    environment = first.environment
    return Comparison(
        task=first.task,
        variant=first.variant,
        model=first.model,
        overrides={key: value for key, value in first.overrides.items() if key.removeprefix("trainer.") not in LAYOUT},
        accelerator=environment.accelerator,
        precision=environment.precision,
        devices=environment.devices,
        reference=f"{reference.environment.precision} x{reference.environment.devices}",
        metric=first.primary.metric,
        statuses=dict(Counter(record.status for record in here)),
        seeds=len(pairs),
        difference=None if found is None else found.value,
        interval=interval,
        margin=span,
        verdict=_verdict(here, there, interval, span),
        speed_up=_ratio(pairs, lambda mine, other: (_seconds(other), _seconds(mine))),
        memory=_ratio(pairs, lambda mine, other: (_memory(mine), _memory(other))),
        underflow=_mean_underflow(here),
        reference_underflow=_mean_underflow(there),
    )


def _verdict(
    here: Sequence[Record],
    there: Sequence[Record],
    interval: tuple[float, float] | None,
    margin: float,
) -> Verdict:
    if here is there:
        return "reference"
    sound = {_seeds(record) for record in there if record.status == "ok"}
    if any(record.status == "diverged" and _seeds(record) in sound for record in here):
        return "different"
    return judge(interval, margin)


def _seeds(record: Record) -> tuple[int, int]:
    return record.seed, record.data_seed


def _pairs(here: Sequence[Record], there: Sequence[Record]) -> list[tuple[Record, Record]]:
    """The records of the seeds that ended well in both, one pair a seed."""
    mine, others = ({_seeds(one): one for one in side if _ended_well(one)} for side in (here, there))
    return [(mine[seeds], others[seeds]) for seeds in sorted(mine.keys() & others.keys())]


def _ended_well(record: Record) -> bool:
    return record.status == "ok" and record.primary.value is not None


def _value(record: Record) -> float:
    """Of a trial that ended well."""
    assert record.primary.value is not None
    return record.primary.value


def _conditions(record: Record) -> tuple[Any, ...]:
    environment = record.environment
    return environment.device, environment.threads, record.measures.by_name.get("memory_kind")


def _ratio(
    pairs: Iterable[tuple[Record, Record]],
    parts: Callable[[Record, Record], tuple[float | int | None, float | int | None]],
) -> float | None:
    """The geometric mean of a ratio over the pairs that were measured under the same conditions."""
    ratios = []
    for mine, other in pairs:
        alone = not any(record.environment.vectorized for record in (mine, other))
        above, below = parts(mine, other)
        if alone and _conditions(mine) == _conditions(other) and above and below:
            ratios.append(above / below)
    return statistics.geometric_mean(ratios) if ratios else None


def _seconds(record: Record) -> float | int | None:
    return record.measures.training_seconds


def _memory(record: Record) -> float | int | None:
    return record.measures.peak_memory_bytes


def _mean_underflow(records: Iterable[Record]) -> float | None:
    values = [record.measures.by_name.get("gradient_underflow") for record in records]
    known = [value for value in values if isinstance(value, int | float)]
    return statistics.fmean(known) if known else None

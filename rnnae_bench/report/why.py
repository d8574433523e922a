"""Why a model learned or did not, in a sentence: what its gradient did at the lag that the task needs."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from rnnae_bench.rankings.bridging import Bridge, Depth, Relation, bridge, depth, middle, reads_at_once, relation
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import FADED
from rnnae_bench.records.record import Record
from rnnae_bench.report.tables import number

_CERTAIN = 0.05
"""The p-value below which a relation is called established."""

SeriesOf = Callable[[Record], Mapping[str, Series]]


def has_time(record: Record, series: Mapping[str, Series]) -> bool:
    """Whether gradients by lag mean something: not of a model that reads its input at once."""
    return not reads_at_once(record, series)


def of_trial(record: Record, series: Mapping[str, Series]) -> str:
    """The sentence of one trial; empty where nothing was measured that it could rest on."""
    return of_row([record], lambda _: series)


def of_row(records: Sequence[Record], series_of: SeriesOf) -> str:
    """The sentence of a row: of the trials that differ in their seed alone.

    Args:
        records: The trials; those whose histories can't be read are left out.
        series_of: The histories of a trial.
    """
    read = [(record, found) for record in records if (found := _read(record, series_of))]
    bridges = [one for record, series in read if (one := bridge(record, series)) is not None]
    if bridges:
        return _of_time(bridges)
    timeless = (series for record, series in read if reads_at_once(record, series))
    depths = [each for series in timeless if (each := depth(series)) is not None]
    return _of_depth(depths) if depths else ""


def of_setting(records: Sequence[Record], series_of: SeriesOf) -> str:
    """How the share of the training with such a gradient goes with the score, over all trials of a task setting.

    Empty where that can't be told: too few trials, or the same in all.
    """
    read = [(record, found) for record in records if (found := _read(record, series_of))]
    return of_relation(relation([record for record, _ in read], [bridge(record, series) for record, series in read]))


def of_relation(found: Relation | None) -> str:
    """The sentence of `of_setting` for what was found; empty for None."""
    if found is None:
        return ""
    numbers = f"over {found.trials} trials, rank correlation {found.rho:+.2f}, p = {found.p:.2g}"
    if found.p >= _CERTAIN:
        return f"No relation is established between the score and how long the gradient reached that lag ({numbers})."
    way = "higher" if found.rho > 0 else "lower"
    return f"The longer a trial's gradient reached that lag, the {way} its score ({numbers})."


def _read(record: Record, series_of: SeriesOf) -> Mapping[str, Series]:
    try:
        return series_of(record)
    except (OSError, ValueError):
        return {}


def _of_time(bridges: Sequence[Bridge]) -> str:
    one, several = bridges[0], len(bridges) > 1
    of_what = "with respect to the input" if one.by_input else "with respect to the state"
    subject = f"The gradient {of_what}"
    lag = f"lag {one.needed:,}, which the task needs"
    reached = [each for each in bridges if each.first is not None]
    if not reached:
        farthest = max(each.farthest for each in bridges)
        whose = f" in any of {len(bridges)} seeds" if several else ""
        return f"{subject} never reached {lag}{whose}: it was lost beyond lag {farthest:,} (below {FADED:g} of lag 0)."
    first, share = middle(bridges)
    assert first is not None
    since = "from the first step on" if first <= 1 else f"first at step {first:,.0f}"
    lasted = f"for {share:.0%} of the training"
    if not several:
        return f"{subject} reached {lag}, {since} and {lasted}."
    whose = "all" if len(reached) == len(bridges) else f"{len(reached)} of"
    return f"{subject} reached {lag}, in {whose} {len(bridges)} seeds: {since} and {lasted} (medians)."


def _of_depth(depths: Sequence[Depth]) -> str:
    one = depths[0]
    initial, final = (_geometric_mean(getattr(each, end) for each in depths) for end in ("initial", "final"))
    return (
        f"It reads its input at once, so its gradient is compared by depth: its norm at {one.first} was "
        f"{number(initial)} times that at {one.last} in the first tenth of the training, {number(final)} in the last."
    )


def _geometric_mean(values: Iterable[float]) -> float:
    known = list(values)
    product = 1.0
    for value in known:
        product *= value ** (1 / len(known))
    return product

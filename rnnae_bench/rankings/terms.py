"""Whether rows of a table were measured on equal terms: models of one size, their hyper-parameters found alike."""

from collections.abc import Iterable, Sequence

from rnnae_bench.rankings.rows import Row

SIZE = 1.1
"""Two models are of one size where neither has more than so many times the other's parameters."""

_SHOWN = 5
"""Models that a list names at most."""


def unequal(first: Row, second: Row, names: tuple[str, str]) -> list[str]:
    """What one of two rows had more of than the other, each in words; nothing of what their records don't say.

    Args:
        first: A row.
        second: Another.
        names: What they are called.
    """
    said = []
    one, other = first.parameters, second.parameters
    if one is not None and other is not None and max(one, other) > SIZE * min(one, other):
        said.append(f"{names[0]} has {one:,} parameters and {names[1]} {other:,}")
    if None not in (first.tuned, second.tuned) and first.tuned != second.tuned:
        said.append(f"only {names[0] if first.tuned else names[1]} was tuned on this task")
    return said


def unequal_among(rows: Iterable[Row]) -> list[str]:
    """The same of all rows of a table together."""
    rows, said = list(rows), []
    sized = sorted((row.parameters, row.label) for row in rows if row.parameters is not None)
    if sized and sized[-1][0] > SIZE * sized[0][0]:
        (least, small), (most, large) = sized[0], sized[-1]
        said.append(f"from {least:,} parameters ({small}) to {most:,} ({large})")
    tuned, untuned = ([row.model for row in rows if row.tuned is flag] for flag in (True, False))
    if tuned and untuned:
        said.append(f"tuned on this task: {_names(tuned)}; not: {_names(untuned)}")
    return said


def _names(models: Sequence[str]) -> str:
    models = list(dict.fromkeys(models))
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return ", ".join(models[:_SHOWN]) + more

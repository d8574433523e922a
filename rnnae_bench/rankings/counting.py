"""Which records count, and as what: the one place that says so, for tables, ranks, intervals, tests and scores.

- A trial counts once, however many copies of its record there are: records with one id are one trial.
- A trial that ended ``ok`` counts as its primary metric on the test set.
- A trial that failed counts as the worst that any finished trial of its task setting reached, all models together, or
  as the floor if that is worse. So it is never above one that finished, and it pays nobody to let a trial crash. It
  enters means, intervals, paired tests and scores like a measured value: where the others of its row finished well, one
  failure widens the interval accordingly.
- A trial that was skipped or interrupted says nothing about its model: it is shown, and counts as nothing.
"""

from collections.abc import Iterable

from rnnae_bench.records.record import Record

LEFT_OUT = ("skipped", "interrupted")
"""How trials end that say nothing about their model."""


def distinct(records: Iterable[Record]) -> list[Record]:
    """The records, each trial once."""
    return list({record.id: record for record in records}.values())


def failed(record: Record) -> bool:
    """Whether a trial was tried and has no result."""
    return record.status not in LEFT_OUT and (record.status != "ok" or record.primary.value is None)


def worst(records: Iterable[Record]) -> float:
    """What a failed trial of these counts as; they are of one task setting.

    Args:
        records: One at least.
    """
    records = list(records)
    primary = records[0].primary
    values = [value for record in records if record.status == "ok" and (value := record.primary.value) is not None]
    pick = min if primary.rises else max
    return float(pick([primary.floor, *values]))


def counted(record: Record, failure: float) -> float | None:
    """What a trial counts as: `failure` where it failed, None where it says nothing."""
    if record.status in LEFT_OUT:
        return None
    value = record.primary.value
    return failure if record.status != "ok" or value is None else float(value)

"""Widths that were chosen before: for so many seconds, which are not the same each time they are measured."""

from collections.abc import Iterable, Mapping
from typing import Any

from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.options.quantities import matched_to
from rnnae_bench.records.record import Match, Record


def chosen_before(
    records: Iterable[Record], task: str, model: str, overrides: Mapping[str, Any], wanted: str
) -> tuple[dict[str, Any], Match] | None:
    """The model's options, nested, that an earlier trial of the same had by the same wish, so that it is gone on with.

    None where there is none, or where the wish gives the same width each time by itself.

    Args:
        records: Of earlier trials.
        task: ``NAME:VARIANT``.
        model: Its name.
        overrides: Options that are not the pair's defaults but for the width, with dotted names.
        wanted: As ``seconds=60``.
    """
    wish = matched_to(wanted)
    if wish[0] != "seconds":
        return None
    for record in records:
        match = record.match
        if match is None or (match.quantity, match.asked) != wish:
            continue
        others = {name: value for name, value in record.overrides.items() if name != f"model.{match.option}"}
        if (f"{record.task}:{record.variant}", record.model, others) == (task, model, dict(overrides)):
            return nest({match.option: flatten(record.configuration.model)[match.option]}), match
    return None

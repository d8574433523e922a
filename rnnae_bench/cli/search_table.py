"""What a search found, as a table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group

from rnnae_bench.report.tables import empty, framed
from rnnae_bench.report.text import Text

if TYPE_CHECKING:
    from rnnae_bench.sweeps.study import Found


def table(found: "Sequence[Found]") -> Group:
    """A table of what a search found: a row a study, with the expected best of a few budgets up to the whole."""
    budgets = list(_budgets(max((one.tried for one in found), default=0)))
    shown = empty()
    shown.add_column("searched", overflow="fold", max_width=40)
    for head in ("tried", "failed", "best", *(f"n = {budget}" for budget in budgets)):
        shown.add_column(head, justify="right", no_wrap=True)
    for one in found:
        expected = [
            "-" if budget > len(one.expected_best) else f"{one.expected_best[budget - 1]:.4g}" for budget in budgets
        ]
        best = "-" if one.value is None else f"{one.value:.4g}"
        shown.add_row(Text(one.study), str(one.tried), str(one.failed or "-"), best, *expected)
    return framed(
        "search: the primary metric on the validation set",
        shown,
        "n = budget: expected best of n of the settings tried, a failed one at the floor",
    )


def _budgets(largest: int) -> Iterator[int]:
    """1, 2, 5, 10, 20, 50, ... below the largest, and that."""
    step = 1
    while step < largest:
        yield from (step * digit for digit in (1, 2, 5) if step * digit < largest)
        step *= 10
    if largest:
        yield largest

"""The values of baselines on the cards beside those of an independent computation, as a check and as a table."""

from collections.abc import Callable

import pytest

from rnnae_bench.plugins.registry import tasks

PROPERTY = "independent value"
COLUMNS = ["task", "baseline", "metric", "card", "independent", "method"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--floors", action="store_true", help="print every baseline's value beside the independent one")


@pytest.fixture
def agrees(record_property) -> Callable[..., None]:
    """Hold a card's value of a baseline equal to one that was computed by other means."""

    def hold(
        label: str, baseline: str, metric: str, independent: float, method: str, rel: float = 1e-4, within: float = 0.0
    ) -> None:
        """Check one value.

        Args:
            label: The task's variant, ``NAME:VARIANT``.
            baseline: One of its card's.
            metric: One of the baseline's.
            independent: What the other computation gives.
            method: What it is, in a few words.
            rel: Relative tolerance.
            within: Absolute tolerance, of a simulation say; the wider of the two holds.
        """
        task, _, variant = label.partition(":")
        card = tasks().get(task).load().card().variant(variant).baselines[baseline].values[metric]
        record_property(PROPERTY, [label, baseline, metric, f"{card:.6g}", f"{float(independent):.6g}", method])
        assert card == pytest.approx(float(independent), rel=rel, abs=within)

    return hold


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """With ``--floors``, print what `agrees` compared."""
    if not config.getoption("--floors", default=False):
        return
    passed = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    rows = sorted(value for report in passed for key, value in report.user_properties if key == PROPERTY)
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    terminalreporter.section("baselines, on the card and computed independently")
    for row in (COLUMNS, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line(line.rstrip())

"""``rnnae-bench truth``: published figures and closed forms, and what this installation measures for the same."""

import argparse
import difflib
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path

from rnnae_bench.api.truth.row import Finding, Row
from rnnae_bench.api.truth.rows import ROWS
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError
from rnnae_bench.records.files import require_writable_file

QUICK = 10.0
"""Seconds of a row that ``--quick`` still measures."""

COLUMNS = ("row", "published", "ours", "tolerance", "verdict", "seconds", "what", "source")


def parser() -> argparse.ArgumentParser:
    """The options of ``truth``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench truth",
        description="Measure figures that are published, or follow from a closed form, and print them beside ours. "
        "A row that is missed stays in the table, as missed; the exit code is 1 then.",
    )
    options.add_argument("rows", nargs="*", metavar="ROW", help="only these rows; all of them by default")
    options.add_argument("--quick", action="store_true", help="only rows that take seconds; none is trained")
    options.add_argument("--list", action="store_true", help="print the rows without measuring them")
    options.add_argument(
        "--out", default="runs/truth", metavar="FOLDER", help="folder for the records of what is trained"
    )
    options.add_argument("--page", default="", metavar="FILE.html", help="write the table as a page too")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return options


def main(argv: list[str]) -> int:
    """Measure the rows and print the table."""
    options = parser().parse_args(argv)
    rows = chosen(options.rows, options.quick)
    if options.list:
        _print_rows(rows, options.json)
        return 0
    page = _writable(options.page)
    from rnnae_bench.api.truth.measuring import measured

    with plugins_aside():
        findings = list(_told(measured(rows, Path(options.out), not options.json), len(rows)))
    if options.json:
        print(json.dumps([_as_dict(one) for one in findings], indent=1))
    else:
        print_table(COLUMNS, [_cells(one) for one in findings])
        print(f"\n{summary(findings)}")
    if page is not None:
        from rnnae_bench.report.truth_page import truth_page

        page.write_text(truth_page(COLUMNS, [_cells(one) for one in findings], summary(findings)), encoding="utf-8")
    return 0 if all(one.verdict == "agrees" for one in findings) else 1


def chosen(names: Iterable[str], quick: bool) -> list[Row]:
    """The rows of these names, or all; `UserError` for a name that there is not."""
    names = list(names)
    for name in names:
        if name not in ROWS:
            near = difflib.get_close_matches(name, ROWS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"there is no row '{name}' in the table of truth; {hint}rnnae-bench truth --list names all")
    rows = [ROWS[name] for name in dict.fromkeys(names)] or list(ROWS.values())
    return [row for row in rows if row.seconds <= QUICK] if quick else rows


def summary(findings: Iterable[Finding]) -> str:
    """How many agree, and which do not."""
    findings = list(findings)
    others = [f"{one.row.name} {one.verdict}" for one in findings if one.verdict != "agrees"]
    agree = len(findings) - len(others)
    return f"{agree} of {len(findings)} rows agree" + (f"; {', '.join(others)}" if others else "")


def _told(findings: Iterable[Finding], count: int) -> Iterable[Finding]:
    """The same, each told on standard error as it is made."""
    from rich.console import Console

    console = Console(stderr=True)
    for place, one in enumerate(findings, 1):
        line = f"{place}/{count} {one.row.name}: {one.failure or _ours(one)}, {one.verdict} ({one.seconds:.1f} s)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        yield one


def _print_rows(rows: list[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_told_of(row) for row in rows], indent=1))
        return
    heads = ("row", "published", "tolerance", "about", "what", "source")
    print_table(
        heads,
        [(row.name, row.published, row.tolerance, f"{row.seconds:g} s", row.claim, row.source) for row in rows],
    )


def _ours(found: Finding) -> str:
    if found.failure:
        return "-"
    middle = f"{statistics.median(found.values):.7g}"
    if len(found.values) == 1:
        return middle
    return f"{middle} ({', '.join(f'{value:.3g}' for value in sorted(found.values))})"


def _cells(found: Finding) -> tuple[str, ...]:
    row = found.row
    notes = [f"tried: {row.tried}" if row.tried and found.verdict != "agrees" else "", found.failure]
    what = "; ".join([row.claim, *filter(None, notes)])
    return (
        row.name,
        row.published,
        _ours(found),
        row.tolerance,
        found.verdict,
        f"{found.seconds:.1f}",
        what,
        row.source,
    )


def _told_of(row: Row) -> dict[str, object]:
    low, high = (None if math.isinf(bound) else bound for bound in (row.within.low, row.within.high))
    return {
        "row": row.name,
        "what": row.claim,
        "source": row.source,
        "published": row.published,
        "low": low,
        "high": high,
        "needed": row.needed,
    }


def _as_dict(found: Finding) -> dict[str, object]:
    values = [value if math.isfinite(value) else None for value in found.values]
    own = {"values": values, "verdict": found.verdict, "seconds": found.seconds, "failure": found.failure or None}
    return _told_of(found.row) | own | {"tried": found.row.tried or None}


def _writable(page: str) -> Path | None:
    if not page:
        return None
    path = Path(page)
    if path.suffix != ".html":
        raise UserError(f"--page {page}: it is a page; name a file that ends in .html")
    if not path.parent.is_dir():
        raise UserError(f"--page {page}: there is no folder {path.parent}; make it first")
    require_writable_file(path, "the page")
    return path

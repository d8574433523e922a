"""``rnnae-bench leaderboard submit``: check records and copy them to a leaderboard's."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import COMMITTED, RUNS, objections, print_findings
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.source import add_source, source_of
from rnnae_bench.errors import UserError
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.leaderboard.submission import Finding


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard submit",
        description="Check records (whole, unchanged, true to the task and its protocol, five seeds a row), copy those "
        "that pass to a leaderboard's folder, make its README.md and the site beside it anew, and say what to "
        "commit for a pull request.",
        allow_abbrev=False,
    )
    add_source(parser, RUNS)
    parser.add_argument(
        "--out", default=COMMITTED, metavar="FOLDER", help=f"the leaderboard's folder (default: {COMMITTED})"
    )
    parser.add_argument("--records", dest="out", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--dry-run", action="store_true", help="check only; copy and write nothing")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Submit records; 0 where all were taken, 1 where any was refused or there was none."""
    options = parser().parse_args(arguments)
    runs, records = Path(source_of(options)), Path(options.out)
    if runs.resolve() == records.resolve():
        raise UserError(f"{runs} is the leaderboard's own folder; 'leaderboard validate' checks that")
    from rnnae_bench.leaderboard import readme, submission
    from rnnae_bench.records.store import Store

    with plugins_aside():
        found = submission.examine(runs, records, objections())
    written = []
    if found.taken and not options.dry_run:
        Store(records).require_writable()
        try:
            written = submission.take(found, records)
            written.append(readme.write(records, Store(records).read().records))
        except OSError as error:
            raise UserError(
                f"cannot write to {records}: {error.strerror}; fix that, and submit again: what is there stays"
            ) from error
    index = _site(records) if written else None
    if options.json:
        findings = [one.as_dict() for one in found.findings]
        print(json.dumps({"findings": findings, "written": list(map(str, written)), "site": index and str(index)}))
    else:
        if found.findings:
            print_findings(found.findings)
        else:
            print(f"there is no record in {runs}", file=sys.stderr)
        print(f"{len(found.taken)} taken, {len(found.refused)} refused" + (", nothing written" if not written else ""))
        if written:
            # A folder, since a row's files by name would fill the screen.
            print(f"for a pull request:\n  git add {records} {written[-1]}")
            print(printable(f"  git commit -m 'Records: {', '.join(_rows(found.taken))}'"))
        if index:
            print(f"to see it, open {index}")
    return 0 if found.findings and not found.refused else 1


def _site(records: Path) -> Path | None:
    """Build the site beside a leaderboard's records; returns its first page, None where it can't be written."""
    from rnnae_bench.leaderboard import readme
    from rnnae_bench.leaderboard.site.build import build
    from rnnae_bench.records.store import Store

    try:
        return build(Store(records), readme.path_of(records).with_name("site")).out / "index.html"
    except UserError as error:
        print(f"rnnae-bench: the records are in {records}, but the site is not built: {error}", file=sys.stderr)
        return None


def _rows(taken: "Sequence[Finding]") -> list[str]:
    return sorted({f"{one.record.model} on {one.record.task}" for one in taken if one.record})

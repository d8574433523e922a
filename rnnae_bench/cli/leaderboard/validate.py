"""``rnnae-bench leaderboard validate``: what CI runs over a leaderboard's records and its README.md."""

import argparse
import json
from pathlib import Path

from rnnae_bench.cli.common import COMMITTED, objections, print_findings
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.source import add_source, source_of
from rnnae_bench.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard validate",
        description="Check a leaderboard's records as 'submit' does, and that the README.md beside them says what they "
        "say. Records of before there were checksums, and rows that lack seeds, are remarked only.",
        allow_abbrev=False,
    )
    add_source(parser, COMMITTED)
    parser.add_argument("--write", action="store_true", help="write README.md anew from the records")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Validate; 0 where nothing speaks against any record and the page is in step, 1 otherwise."""
    options = parser().parse_args(arguments)
    from rnnae_bench.leaderboard import readme, submission
    from rnnae_bench.records.store import Store

    records = Path(source_of(options))
    with plugins_aside():
        found = submission.inspect(records, objections())
    content = Store(records).read().records
    if options.write:
        try:
            readme.write(records, content)
        except OSError as error:
            raise UserError(f"cannot write {readme.path_of(records)}: {error.strerror}") from error
    in_step = readme.is_in_step(records, content)
    page = readme.path_of(records)
    if options.json:
        print(json.dumps({"findings": [one.as_dict() for one in found.findings], "in_step": in_step}))
    else:
        if any(one.reasons or one.remarks for one in found.findings):
            print_findings([one for one in found.findings if one.reasons or one.remarks])
        print(f"{len(found.findings)} records, {len(found.refused)} refused")
        fix = f"not in step with the records; 'rnnae-bench leaderboard validate --from {records} --write' fixes it"
        print(f"{page} is {'in step with the records' if in_step else fix}")
    return 0 if in_step and not found.refused else 1

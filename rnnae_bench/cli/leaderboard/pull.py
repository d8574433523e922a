"""``rnnae-bench leaderboard pull``: the runs of W&B projects turned back into records."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import RUNS
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.leaderboard.trackers.wandb_pull import Pulled


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard pull",
        description="Write the records of W&B projects' runs into a folder, each checked. What the folder has is "
        "neither fetched again nor overwritten, so a pull that was cut off is simply repeated. Of two projects with "
        "different records of one trial the first one's is taken.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--wandb", required=True, nargs="+", action="extend", metavar="ENTITY/PROJECT", help="the project, or several"
    )
    parser.add_argument("--out", default=RUNS, metavar="FOLDER", help=f"folder for the records (default: {RUNS})")
    parser.add_argument("--json", action="store_true", help="what became of each run of each project, as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Pull; 0 where all records of the projects are in the folder now, 1 where some were refused or differ."""
    options = parser().parse_args(arguments)
    from rnnae_bench.leaderboard.trackers.wandb_client import connect, parse_project
    from rnnae_bench.records.store import Store

    for project in options.wandb:
        parse_project(project)
    store = Store(Path(options.out))
    store.require_writable()
    from rnnae_bench.leaderboard.trackers.wandb_pull import pull

    found = pull(connect(reading=True), options.wandb, store)
    if options.json:
        print(json.dumps([asdict(pulled) for pulled in found], indent=1))
    for pulled in found:
        if not options.json:
            _report(pulled, store.folder)
        for run, reason in {**pulled.refused, **pulled.differing}.items():
            print(printable(f"rnnae-bench: run {run} of {pulled.project} is left out: {reason}"), file=sys.stderr)
    return 0 if all(pulled.good for pulled in found) else 1


def _report(pulled: "Pulled", folder: Path) -> None:
    count = len(pulled.written)
    print(
        f"{pulled.project}: {count} record{'s' * (count != 1)} written to {folder}, "
        f"{len(pulled.present)} {'was' if len(pulled.present) == 1 else 'were'} there already"
    )
    for run in pulled.without:
        print(printable(f"run {run} of {pulled.project}: no record, left out"), file=sys.stderr)

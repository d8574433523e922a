"""``rnnae-bench leaderboard pull``: a W&B project's runs turned back into records."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rnnae_bench.cli.common import RUNS
from rnnae_bench.records.legible import printable


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard pull",
        description="Write the records of a W&B project's runs into a folder, each checked. What the folder has is "
        "neither fetched again nor overwritten, so a pull that was cut off is simply repeated.",
        allow_abbrev=False,
    )
    parser.add_argument("--wandb", required=True, metavar="ENTITY/PROJECT", help="the project")
    parser.add_argument("--out", default=RUNS, metavar="FOLDER", help=f"folder for the records (default: {RUNS})")
    parser.add_argument("--json", action="store_true", help="what became of each run, as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Pull; 0 where all records of the project are in the folder now, 1 where some were refused or differ."""
    options = parser().parse_args(arguments)
    from rnnae_bench.leaderboard.trackers.wandb_client import connect, parse_project
    from rnnae_bench.records.store import Store

    parse_project(options.wandb)
    store = Store(Path(options.out))
    store.require_writable()
    from rnnae_bench.leaderboard.trackers.wandb_pull import pull

    pulled = pull(connect(), options.wandb, store)
    if options.json:
        print(json.dumps(asdict(pulled), indent=1))
    else:
        print(f"{len(pulled.written)} records written to {store.folder}, {len(pulled.present)} were there already")
        for run in pulled.without:
            print(printable(f"run {run}: no record, left out"), file=sys.stderr)
    for run, reason in {**pulled.refused, **pulled.differing}.items():
        print(printable(f"rnnae-bench: run {run} is left out: {reason}"), file=sys.stderr)
    return 0 if pulled.good else 1

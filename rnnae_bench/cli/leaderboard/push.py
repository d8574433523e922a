"""``rnnae-bench leaderboard push``: records, standings and a report in a W&B project."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rnnae_bench.cli.common import RUNS, read_records
from rnnae_bench.cli.source import add_source, source_of
from rnnae_bench.errors import UserError
from rnnae_bench.records.legible import printable


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard push",
        description="Publish records in a W&B project: a run for each that it lacks, a table of the standings, one "
        "of all models on all tasks, and a report. Pushing again replaces and never doubles. To add to what colleagues "
        "pushed, pull first: tables and report are of the records in the folder.",
        allow_abbrev=False,
    )
    add_source(parser, RUNS)
    parser.add_argument("--wandb", required=True, metavar="ENTITY/PROJECT", help="the project; made if need be")
    parser.add_argument(
        "--mode",
        choices=("online", "offline"),
        help="offline: keep runs and tables in FOLDER/logs/push for 'wandb sync', without a report "
        "(default: online, or what WANDB_MODE says)",
    )
    parser.add_argument("--no-report", action="store_true", help="no report; it needs the package wandb-workspaces")
    parser.add_argument("--json", action="store_true", help="what became of each run, as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Push; 0 where the project has all records now, 1 where some could not be pushed."""
    options = parser().parse_args(arguments)
    from rnnae_bench.leaderboard.trackers.wandb_client import connect, parse_project
    from rnnae_bench.records.store import Store

    entity, project = parse_project(options.wandb)
    mode = options.mode or _mode(os.environ.get("WANDB_MODE", "online"))
    store = Store(Path(source_of(options)))
    records = read_records(store.folder)
    if not records:
        raise UserError(f"there are no records in {store.folder} to push; 'rnnae-bench run' makes some")
    from rnnae_bench.leaderboard.trackers.wandb_push import Target, push, require_reports

    if mode == "online" and not options.no_report:
        require_reports()
    target = Target(entity, project, store.folder / "logs" / "push" / entity / project, mode)
    api = connect() if mode == "online" else None
    pushed = push(
        api, target, store, records, not options.no_report, lambda said: print(printable(said), file=sys.stderr)
    )
    if options.json:
        print(json.dumps(asdict(pushed), indent=1))
    else:
        print(f"{len(pushed.written)} runs written, {len(pushed.present)} were there already")
        if mode == "offline":
            print(f"send them with: wandb sync {target.folder}/wandb/offline-run-*")
        elif pushed.report:
            print(f"report {pushed.report}")
    for run, reason in pushed.failed.items():
        print(printable(f"rnnae-bench: {run}: {reason}"), file=sys.stderr)
    return 1 if pushed.failed else 0


def _say(said: str) -> None:
    print(printable(said), file=sys.stderr)


def _mode(asked: str) -> Literal["online", "offline"]:
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked in ("online", "run"):
        return "online"
    raise UserError(f"WANDB_MODE={asked} leaves nothing to push to; give --mode online or --mode offline")

"""``rnnae-bench leaderboard build``: the static site over a folder of records."""

import argparse
import json
import sys
from pathlib import Path

from rnnae_bench.cli.common import COMMITTED
from rnnae_bench.cli.source import add_source, source_of
from rnnae_bench.records.legible import printable


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard build",
        description="Write a site of static pages that open from disk, without a server and without a network.",
        allow_abbrev=False,
    )
    add_source(parser, COMMITTED)
    parser.add_argument(
        "--out",
        default="leaderboards/site",
        metavar="FOLDER",
        help="where the site goes; an earlier site there is replaced whole (default: leaderboards/site)",
    )
    parser.add_argument("--json", action="store_true", help="what was made, as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Build the site; 1 where some record or its histories could not be read, and is left out."""
    options = parser().parse_args(arguments)
    from rnnae_bench.leaderboard.site.build import build
    from rnnae_bench.records.store import Store

    built = build(Store(Path(source_of(options))), Path(options.out))
    for path, reason in built.unreadable.items():
        print(printable(f"rnnae-bench: {path} is no record, left out: {reason}"), file=sys.stderr)
    for identity in built.without_histories:
        print(f"rnnae-bench: the histories of record {identity} can't be read: no pictures of it", file=sys.stderr)
    index = built.out / "index.html"
    if options.json:
        unreadable = {str(path): reason for path, reason in built.unreadable.items()}
        print(
            json.dumps({**vars(built), "out": str(built.out), "index": str(index), "unreadable": unreadable}, indent=1)
        )
    else:
        print(
            f"site {index}: {_counted(built.records, 'record')}, {_counted(built.tasks, 'task variant')}, "
            f"{_counted(built.models, 'model')}; {built.files} files, {built.bytes / 1e6:.1f} MB"
        )
    return 1 if built.unreadable or built.without_histories else 0


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"

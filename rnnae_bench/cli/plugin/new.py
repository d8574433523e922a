"""``rnnae-bench plugin new``: a small package with a model, a task or a probe, which passes its exam as it is."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from rnnae_bench.plugins.registry import GROUPS
from rnnae_bench.plugins.scaffold import write_plugin
from rnnae_bench.records.legible import printable


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench plugin new",
        description="Write a small package with a model, a task or a probe: entry point, module, test and README. It "
        "installs and passes its exam as it is.",
        allow_abbrev=False,
    )
    options.add_argument("name", metavar="NAME", help="what it will be called: lower-case words with _ between")
    kind = options.add_mutually_exclusive_group(required=True)
    for one in GROUPS:
        kind.add_argument(f"--{one}", dest="kind", action="store_const", const=one, help=f"a {one}")
    options.add_argument("--out", type=Path, metavar="FOLDER", help="a new folder; by default ./NAME with dashes")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(arguments: list[str]) -> int:
    """Write the package; 0 where it is there, whole."""
    options = parser().parse_args(arguments)
    new = write_plugin(options.kind, options.name, options.out)
    following = [
        f"pip install -e {shlex.quote(f'{new.folder}[test]')}",
        new.check,
        f"pytest {shlex.quote(str(new.folder))}",
        new.run,
    ]
    if options.json:
        found = {"folder": str(new.folder), "files": [str(file) for file in new.files], "next": following}
        json.dump({"kind": options.kind, "name": options.name, **found}, sys.stdout, indent=1)
        print()
        return 0
    print(printable(f"{new.folder} has the {options.kind} '{options.name}':"))
    for file in new.files:
        print(f"  {file}")
    print("\nnext:")
    for line in following:
        print(printable(f"  {line}"))
    return 0

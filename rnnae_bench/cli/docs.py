"""``rnnae-bench docs``: where the documentation is, and the guide for agents that is installed with the program."""

import argparse
import json
import sys
from importlib.metadata import metadata
from pathlib import Path

from rnnae_bench.records.legible import printable

GUIDE = Path(__file__).parent / "agents" / "SKILL.md"
"""The guide, in the form of a skill."""


def parser() -> argparse.ArgumentParser:
    """The options of ``docs``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench docs", description="Say where the documentation is, or print the guide for agents."
    )
    options.add_argument(
        "--for-agents", action="store_true", help="print the guide for agents: commands, the shapes of --json, rules"
    )
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(argv: list[str]) -> int:
    """Print the guide, or where to read."""
    options = parser().parse_args(argv)
    guide = GUIDE.read_text(encoding="utf-8")
    addresses = dict(line.split(", ", 1) for line in metadata("rnnae-bench").get_all("Project-URL") or [])
    if options.json:
        found = {"path": str(GUIDE), "text": guide} if options.for_agents else {"path": str(GUIDE), "urls": addresses}
        json.dump(found, sys.stdout, indent=1)
        print()
    elif options.for_agents:
        print(guide, end="")
    else:
        for what, address in addresses.items():
            print(printable(f"{what:<14} {address}"))
        print(printable(f"{'For agents':<14} {GUIDE} (rnnae-bench docs --for-agents prints it)"))
    return 0

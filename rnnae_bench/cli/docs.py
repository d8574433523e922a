"""``rnnae-bench docs``: where the documentation is, and the guide for coding agents that comes with the package."""

import argparse
import json
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files
from pathlib import Path

from rnnae_bench.records.legible import printable


def parser() -> argparse.ArgumentParser:
    """The options of ``docs``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench docs",
        description="Say where the documentation is, or print the guide for coding agents that is installed with the "
        "package: every command, the shape of its JSON, how to write and check a plugin.",
        allow_abbrev=False,
    )
    options.add_argument("--for-agents", action="store_true", help="print the guide for coding agents, in Markdown")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(arguments: list[str]) -> int:
    """Print the guide, or where everything is."""
    options = parser().parse_args(arguments)
    path = guide()
    if options.for_agents:
        text = path.read_text(encoding="utf-8")
        print(json.dumps({"path": str(path), "text": text}, indent=1) if options.json else text.rstrip("\n"))
        return 0
    urls = project_urls()
    if options.json:
        print(json.dumps({"urls": urls, "path": str(path)}, indent=1))
        return 0
    for label, address in urls.items():
        print(f"{label + ':':<15} {printable(address)}")
    print(f"{'For agents:':<15} {printable(str(path))} (rnnae-bench docs --for-agents prints it)")
    return 0


def guide() -> Path:
    """The guide for coding agents, in the format of an agent skill: a folder of its own with a ``SKILL.md``."""
    return Path(str(files("rnnae_bench.cli"))) / "agents" / "rnnae-bench" / "SKILL.md"


def project_urls() -> dict[str, str]:
    """The addresses that the installed package names, by label; none where only its source is on the path."""
    try:
        stated = metadata("rnnae-bench").get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    return {label.strip(): address.strip() for label, _, address in (one.partition(",") for one in stated)}

"""``rnnae-bench list``: what is registered, where it comes from, and whether it would load."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from rnnae_bench.cli.table import print_table
from rnnae_bench.contracts.card import card_path, load_card
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.plugins.registry import Handle, Kind, Registry, models, probes, tasks
from rnnae_bench.records.legible import printable


@dataclass(frozen=True)
class Entry:
    """One registered model, task or probe, as it is listed."""

    kind: Kind
    name: str
    summary: str
    family: str
    """What a task is listed among, as its card says; empty for others."""
    variants: list[str]
    """A task's variants; none for others."""
    distribution: str
    version: str
    status: Literal["ok", "broken", "conflict"]
    reason: str | None
    """Why it is broken, or who else claims the name."""
    broken_variants: dict[str, str]
    """A task's variants that can't be used, each with the reason; the others can."""


def entry(handle: Handle, registry: Registry) -> Entry:
    """Describe a registered object without importing it."""
    summary = family = ""
    variants: list[str] = []
    broken: dict[str, str] = {}
    reason = handle.broken()
    source = None if reason else handle.source()
    if source:
        summary = source.summary
        if handle.kind == "task":
            try:
                card = load_card(card_path(source.path, handle.name))
                summary, family, variants, broken = card.title, card.family, [*card.variants], card.broken
            except UserError as error:
                reason = str(error)
            except Exception as error:
                reason = f"its card can't be read: {type(error).__name__}: {in_a_line(error)}"
    conflict = registry.conflict(handle.name)
    return Entry(
        handle.kind,
        handle.name,
        summary,
        family,
        variants,
        handle.distribution,
        handle.version,
        "conflict" if conflict else "broken" if reason else "ok",
        conflict or reason,
        broken,
    )


def parser() -> argparse.ArgumentParser:
    """The options of ``list``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench list", description="List what is registered: models, tasks, probes."
    )
    options.add_argument("what", nargs="?", choices=("models", "tasks", "probes"), help="only these; by default all")
    options.add_argument("--json", action="store_true", help="print a list of JSON objects instead of tables")
    return options


def main(argv: list[str]) -> int:
    """Print what is registered; 0 whatever is broken."""
    options = parser().parse_args(argv)
    registries = {"models": models(), "tasks": tasks(), "probes": probes()}
    if options.what:
        registries = {options.what: registries[options.what]}
    entries = {
        what: sorted((entry(handle, known) for handle in known.handles()), key=lambda each: (each.family, each.name))
        for what, known in registries.items()
    }
    if options.json:
        json.dump([asdict(each) for listed in entries.values() for each in listed], sys.stdout, indent=2)
        print()
        return 0
    if not entries.get("probes", True):
        del entries["probes"]
        if not entries:
            print("no plugin has a probe; the suite's own measure in every trial")
    for number, (what, listed) in enumerate(entries.items()):
        if number:
            print()
        print_table([what, *_COLUMNS[what]], [[each.name, *_cells(each)] for each in listed])
        for each in listed:
            if each.reason:
                print(printable(f"{each.status}: {each.kind} '{each.name}' of {each.distribution}: {each.reason}"))
            for variant, reason in each.broken_variants.items():
                print(printable(f"broken: variant '{each.name}:{variant}' of {each.distribution}: {reason}"))
    return 0


_COLUMNS = {
    "models": ["summary", "from", "status"],
    "tasks": ["family", "summary", "variants", "from", "status"],
    "probes": ["summary", "from", "status"],
}


def _cells(listed: Entry) -> list[str]:
    origin = [f"{listed.distribution} {listed.version}", listed.status]
    if listed.kind != "task":
        return [listed.summary, *origin]
    return [listed.family, listed.summary, ", ".join(listed.variants), *origin]

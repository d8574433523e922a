"""``rnnae-bench baselines``: what a task's baselines score on its own data, ready for its card."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnae_bench.cli.common import load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.contracts.card import Card, Variant, card_path, load_draft
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.nested import nest
from rnnae_bench.plugins.registry import parse_task, tasks
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.contracts.task import Task


def computed(
    task_class: "type[Task]", card: Card, variant: Variant, options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """The metrics of each of a variant's baselines, by name, to six significant digits; with further options.

    Raises:
        UserError: the task can't be made, or can't compute one of them.
    """
    try:
        protocol = replace(variant.protocol, **options.get("protocol", {}))
        task = task_class(**{**variant.data, **options, "protocol": protocol})
        found = {name: task.baseline(name) for name in variant.baselines}
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {in_a_line(error)}"
        raise UserError(f"cannot compute the baselines of {card.task}:{variant.name}: {reason}") from error
    return {name: {metric: float(f"{value:.6g}") for metric, value in values.items()} for name, values in found.items()}


def parser() -> argparse.ArgumentParser:
    """The options of ``baselines``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench baselines",
        description="Compute the baselines that a task's card names, and print them as they belong into it, where "
        "their values need not be right yet, nor be there at all.",
    )
    options.add_argument("task", help="NAME[:VARIANT][OPTION=VALUE,...]; without VARIANT, all of them")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of YAML")
    return options


def main(argv: list[str]) -> int:
    """Print the baselines of a task's variants."""
    options = parser().parse_args(argv)
    named, given = parse_text(options.task)
    name, chosen = parse_task(named)
    handle = tasks().get(name)
    load_libraries()
    with plugins_aside():
        task_class = handle.load()
        source = handle.source()
        card = load_draft(card_path(source.path, name)) if source else task_class.card()
        variants = [card.variant(chosen)] if ":" in named else [*card.variants.values()]
        found = {variant.name: computed(task_class, card, variant, nest(given)) for variant in variants}
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        _print_yaml(found, card)
    return 0


def _print_yaml(found: dict[str, dict[str, dict[str, float]]], card: Card) -> None:
    print("variants:")
    for variant, baselines in found.items():
        print(f"  {variant}:\n    baselines:")
        for name, values in baselines.items():
            numbers = ", ".join(f"{metric}: {_number(value)}" for metric, value in values.items())
            # A text of JSON is one of YAML.
            text = json.dumps(printable(card.variants[variant].baselines[name].source), ensure_ascii=False)
            print(f"      {name}:\n        values: {{{numbers}}}\n        source: {text}")


def _number(value: Any) -> str:
    """A number that YAML 1.2 and older ones read as one: 1e-20 has no point, and is a text for many."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text

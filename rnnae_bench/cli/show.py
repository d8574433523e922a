"""``rnnae-bench show``: one model or one task in full, from its source and its card alone."""

import argparse
import json
import sys
from difflib import get_close_matches

from rnnae_bench.cli.descriptions import bibtex_of, describe_model, describe_task
from rnnae_bench.cli.show_text import print_bibtex, print_model, print_task
from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.plugins.registry import Kind, models, parse_task, tasks


def parser() -> argparse.ArgumentParser:
    """The options of ``show``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench show",
        usage="rnnae-bench show [model|task] NAME [--bibtex] [--json]",
        description="Show one model or one task in full.",
    )
    about = "a model's NAME or a task's NAME[:VARIANT], after 'model' or 'task' where both have the name"
    options.add_argument("words", nargs="+", metavar="NAME", help=about)
    options.add_argument("--bibtex", action="store_true", help="print what to cite, as BibTeX")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(argv: list[str]) -> int:
    """Print what is known of a model or task."""
    asked = parser()
    options = asked.parse_args(argv)
    kind, name = _asked(asked, options.words)
    if options.bibtex:
        handle = models().get(name) if kind == "model" else tasks().get(parse_task(name)[0])
        shown = {"kind": kind, "name": handle.name, "bibtex": bibtex_of(handle)}
    else:
        shown = describe_model(name) if kind == "model" else describe_task(name)
    if options.json:
        json.dump(shown, sys.stdout, indent=2, default=str)
        print()
    elif options.bibtex:
        print_bibtex(shown)
    elif kind == "model":
        print_model(shown)
    else:
        print_task(shown)
    return 0


def _asked(asked: argparse.ArgumentParser, words: list[str]) -> tuple[Kind, str]:
    """The kind and the name that the words give; options in brackets change nothing of what is shown."""
    *before, text = words
    name = parse_text(text)[0]
    if before in (["model"], ["task"]):
        return ("model" if before == ["model"] else "task"), name
    if before or name in ("model", "task"):
        asked.error(f"one NAME is shown, after 'model' or 'task' if need be; got {' '.join(words)}")
    return kind_of(name), name


def kind_of(text: str) -> Kind:
    """Which of models and tasks has a name; a task's may have its variant.

    Raises:
        UserError: both have it, or neither.
    """
    base = text.partition(":")[0]
    known: dict[Kind, list[str]] = {"model": [] if ":" in text else models().names(), "task": tasks().names()}
    having: list[Kind] = [kind for kind, names in known.items() if base in names]
    if len(having) == 1:
        return having[0]
    if having:
        raise UserError(f"'{text}' is a model and a task; write show model {text}, or show task {text}")
    near = get_close_matches(base, [name for names in known.values() for name in names], n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise UserError(f"there is no model or task '{text}'; {hint}rnnae-bench list has their names")

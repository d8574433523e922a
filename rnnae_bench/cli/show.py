"""``rnnae-bench show``: one model, one task or one probe in full, from its source and its card alone."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from rnnae_bench.cli.descriptions import bibtex_of, describe_model, describe_probe, describe_task
from rnnae_bench.cli.show_text import print_bibtex, print_model, print_probe, print_task
from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.plugins.registry import Handle, Kind, models, parse_task, probes, tasks


def parser() -> argparse.ArgumentParser:
    """The options of ``show``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench show",
        usage="rnnae-bench show [model|task|probe] NAME [--bibtex] [--json]",
        description="Show one model, one task or one probe in full.",
    )
    about = "a NAME, of a task NAME[:VARIANT], after 'model', 'task' or 'probe' where several have the name"
    options.add_argument("words", nargs="+", metavar="NAME", help=about)
    options.add_argument("--bibtex", action="store_true", help="print what to cite, as BibTeX")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(argv: list[str]) -> int:
    """Print what is known of a model, task or probe."""
    asked = parser()
    options = asked.parse_args(argv)
    kind, name = _asked(asked, options.words)
    if options.bibtex:
        handle = _HANDLES[kind](name)
        shown = {"kind": kind, "name": handle.name, "bibtex": bibtex_of(handle)}
    else:
        shown = _DESCRIBED[kind](name)
    if options.json:
        json.dump(shown, sys.stdout, indent=2, default=str)
        print()
    elif options.bibtex:
        print_bibtex(shown)
    else:
        _PRINTED[kind](shown)
    return 0


_HANDLES: dict[Kind, Callable[[str], Handle]] = {
    "model": lambda name: models().get(name),
    "task": lambda name: tasks().get(parse_task(name)[0]),
    "probe": lambda name: probes().get(name),
}
_DESCRIBED = {"model": describe_model, "task": describe_task, "probe": describe_probe}
_PRINTED = {"model": print_model, "task": print_task, "probe": print_probe}


def _asked(asked: argparse.ArgumentParser, words: list[str]) -> tuple[Kind, str]:
    """The kind and the name that the words give; options in brackets change nothing of what is shown."""
    *before, text = words
    name = parse_text(text)[0]
    for kind in _HANDLES:
        if before == [kind]:
            return kind, name
    if before or name in _HANDLES:
        asked.error(f"one NAME is shown, after {_either(_HANDLES)} if need be; got {' '.join(words)}")
    return kind_of(name), name


def kind_of(text: str) -> Kind:
    """Which of models, tasks and probes has a name; a task's may have its variant.

    Raises:
        UserError: several have it, or none.
    """
    base = text.partition(":")[0]
    known: dict[Kind, list[str]] = {"task": tasks().names()}
    if ":" not in text:
        known |= {"model": models().names(), "probe": probes().names()}
    having: list[Kind] = [kind for kind in _HANDLES if base in known.get(kind, ())]
    if len(having) == 1:
        return having[0]
    if having:
        ways = ", or ".join(f"show {kind} {text}" for kind in having)
        raise UserError(f"'{text}' is {' and '.join(f'a {kind}' for kind in having)}; write {ways}")
    near = get_close_matches(base, [name for names in known.values() for name in names], n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise UserError(f"there is no model, task or probe '{text}'; {hint}rnnae-bench list has their names")


def _either(kinds: Iterable[str]) -> str:
    *most, last = (f"'{kind}'" for kind in kinds)
    return f"{', '.join(most)} or {last}"

"""What ``run --help`` prints: a screen or two in plain words, made without importing torch."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rnnae_bench.cli.own_options import OwnOption, model_options, task_options
from rnnae_bench.cli.run_options import add_own
from rnnae_bench.contracts.card import card_path, load_card
from rnnae_bench.plugins.registry import parse_task, tasks
from rnnae_bench.records.legible import printable

_COLUMN = 29
"""Where descriptions begin; a longer option stands in a line of its own."""

_TELLING = 15
"""Characters that a shortened description has at least."""

TRAINER = (
    OwnOption("accelerator", "cpu|gpu", (), "auto", "What to train on"),
    OwnOption("devices", "int", (), "1", "How many devices a trial trains on."),
    OwnOption("strategy", "int", (), "auto", "How several devices work together (ddp, ...)."),
    OwnOption("precision", "int", (), "32-true", "Or bf16-mixed, 16-mixed, 64-true"),
    OwnOption("accumulate_grad_batches", "int", (), "1", "Batches of one optimiser step."),
    OwnOption("deterministic", "true|false", (), "false", "Refuse algorithms that are not deterministic."),
)
"""Lightning's trainer options that people use most."""


def short_help(task: str | None, model: str | None) -> str:
    """The help of ``run`` for a pair, or for what of it is named.

    Raises:
        UserError: there is no such task, variant or model.
    """
    return "\n".join(map(printable, _lines(task, model)))


def _lines(task: str | None, model: str | None) -> Iterator[str]:
    yield f"usage: rnnae-bench run --task {task or 'NAME[:VARIANT]'} --model {model or 'NAME'} [options]"
    yield ""
    yield from _paragraph(_about(task, model))
    yield ""
    yield from _option("--task NAME[:VARIANT]", "The task; with options: copy[delay=50]")
    yield from _option("--model NAME", "The model, likewise: gru[hidden_size=64,layers=2]")
    yield from _option("--config FILE", "Options from a YAML file; flags win over it")
    recorded: list[tuple[str, dict[str, Any]]] = []
    add_own(lambda flag, **about: recorded.append((flag, about)))
    for flag, about in recorded:
        yield from _own(flag, about)
    if task:
        yield from _section(f"task {task}", "--task.", task_options(task))
    if model:
        yield from _section(f"model {model}", "--model.", model_options(model, task))
    yield from _section("Lightning's trainer", "--trainer.", TRAINER)
    yield ""
    if task and model:
        yield "--help all has every option with its whole description."
    else:
        yield "Name both to see their own options: rnnae-bench run --task copy --model gru --help"


def _about(task: str | None, model: str | None) -> str:
    if not task or not model:
        return "Train a model on a task and keep a record of it."
    name, variant = parse_task(task)
    source = tasks().get(name).source()
    summary = load_card(card_path(source.path, name)).variant(variant).summary if source else ""
    return f"Train {model} on {name}:{variant} and keep a record of it. {summary}"


def _section(title: str, prefix: str, options: Sequence[OwnOption]) -> Iterator[str]:
    yield ""
    yield f"{title}, each as {prefix}NAME VALUE; the default stands after ="
    if not options:
        yield "  (its options can't be read from its source; --help all names them)"
    for one in options:
        unset = one.default in ("null", "None", "required")
        told = one.type in ("int", "float", "true|false") and not unset
        text = _first_clause(one.description, _width() - _COLUMN if told else None)
        yield from _option(
            one.name if unset else f"{one.name}={one.default}",
            text if told else f"{text} ({one.type}{', required' if one.default == 'required' else ''})",
        )


def _own(flag: str, about: dict[str, Any]) -> Iterator[str]:
    metavar = about.get("metavar", "" if about.get("action") else _metavar(about["type"]))
    default = about.get("default")
    shown = "" if default in (None, "") else f" ({default})"
    yield from _option(f"{flag} {metavar}".rstrip(), f"{about['help'].removesuffix('.')}{shown}")


def _metavar(type: Any) -> str:
    return "int" if "int" in str(type) else "weights" if "weights" in str(type) else "text"


def _first_clause(description: str, room: int | None = None) -> str:
    """A description up to its first semicolon, full stop or parenthesis: the whole stands in ``--help all``.

    What follows a last comma is left out too where the rest has room in a line, and it does not.
    """
    clause = re.split(r"[;.:] |\.$| \(", description, maxsplit=1)[0]
    shorter = clause.rpartition(", ")[0]
    return shorter if room is not None and len(clause) > room >= len(shorter) > _TELLING else clause


def _option(head: str, described: str) -> Iterator[str]:
    head = f"  {head}"
    if len(head) >= _COLUMN and len(head) + 2 + len(described) > _width():
        yield head
        head = ""
    for line in textwrap.wrap(described, _width() - max(_COLUMN, len(head) + 2), break_on_hyphens=False) or [""]:
        yield f"{head:<{_COLUMN - 2}}  {line}".rstrip()
        head = ""


def _paragraph(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _width(), break_on_hyphens=False)


def _width() -> int:
    return max(80, min(110, shutil.get_terminal_size((100, 24)).columns))

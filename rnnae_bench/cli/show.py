"""``rnnae-bench show``: one model or one task in full, from its source and its card alone."""

import argparse
import ast
import json
import shutil
import sys
import textwrap
from typing import Any

from rnnae_bench.cli.table import print_table
from rnnae_bench.contracts.card import Card, Variant, card_path, load_card
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import Handle, models, parse_task, tasks
from rnnae_bench.plugins.source import ClassSource, Parameter
from rnnae_bench.records.legible import printable


def describe_model(name: str) -> dict[str, Any]:
    """All that is known of a model without importing it, ready for JSON.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    handle = models().get(name)
    source = _source(handle)
    return {
        **_origin(handle, source),
        "description": source.description,
        "hyperparameters": _parameters(source),
        "tuned": {
            label: tuned[name]
            for task, card in _cards().items()
            for label, tuned in _tuned(card, task).items()
            if name in tuned
        },
    }


def describe_task(text: str) -> dict[str, Any]:
    """All that is known of a task without importing it, ready for JSON; of one variant where ``:VARIANT`` is given.

    Raises:
        UserError: there is no such task or variant, the task is broken, or its card is.
    """
    name, chosen = parse_task(text)
    handle = tasks().get(name)
    source = _source(handle)
    card = load_card(card_path(source.path, name))
    shown = [card.variant(chosen)] if ":" in text else [*card.variants.values()]
    readme = card.path.with_name("README.md")
    return {
        **_origin(handle, source),
        "title": card.title,
        "measures": card.measures,
        "description": source.description,
        "sources": card.sources,
        "licence": card.licence,
        "card": str(card.path),
        "readme": str(readme) if readme.is_file() else None,
        "options": _parameters(source),
        "variants": {variant.name: _variant(variant) for variant in shown},
        "broken_variants": card.broken,
        "lag_option": card.lag_option,
        "tuning": card.tuning,
        "tuned": card.tuned,
        "retired": card.retired,
    }


def parser() -> argparse.ArgumentParser:
    """The options of ``show``."""
    options = argparse.ArgumentParser(prog="rnnae-bench show", description="Show one model or one task in full.")
    options.add_argument("kind", choices=("model", "task"))
    options.add_argument("name", help="a model's NAME, or a task's NAME[:VARIANT]; without VARIANT, all of them")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return options


def main(argv: list[str]) -> int:
    """Print what is known of a model or task."""
    options = parser().parse_args(argv)
    shown = describe_model(options.name) if options.kind == "model" else describe_task(options.name)
    if options.json:
        json.dump(shown, sys.stdout, indent=2, default=str)
        print()
    elif options.kind == "model":
        _print_model(shown)
    else:
        _print_task(shown)
    return 0


def _source(handle: Handle) -> ClassSource:
    reason = handle.broken()
    if reason:
        raise UserError(f"cannot show the {handle.kind} '{handle.name}' of {handle.distribution}: {reason}")
    source = handle.source()
    if source is None:
        raise UserError(f"cannot show the {handle.kind} '{handle.name}': {handle.value} has no Python source to read")
    return source


def _cards() -> dict[str, Card]:
    """The cards of all tasks that have a sound one, by task."""
    cards = {}
    for handle in tasks().handles():
        source = handle.source()
        try:
            if source:
                cards[handle.name] = load_card(card_path(source.path, handle.name))
        except Exception:  # a broken task hides its own card only; `list` says what is wrong with it
            continue
    return cards


def _tuned(card: Card, task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Tuned hyper-parameters by model, of the whole task under its name, of a variant alone under ``NAME:VARIANT``."""
    of_variants = {f"{task}:{name}": variant.tuned for name, variant in card.variants.items()}
    return {task: card.tuned, **of_variants}


def _origin(handle: Handle, source: ClassSource) -> dict[str, Any]:
    return {
        "kind": handle.kind,
        "name": handle.name,
        "class": handle.value,
        "distribution": handle.distribution,
        "version": handle.version,
        "path": str(source.path),
        "line": source.line,
    }


def _parameters(source: ClassSource) -> list[dict[str, Any]] | None:
    """The constructor's arguments that a user may set; None where the source doesn't show them."""
    if source.parameters is None:
        return None
    own = [each for each in source.parameters if each.name.partition(".")[0] not in ("spec", "data_seed")]
    return [
        {
            "name": each.name,
            "type": each.type,
            "required": each.default is None,
            "default": _value(each),
            "description": each.description,
        }
        for each in own
    ]


def _value(parameter: Parameter) -> Any:
    """The default itself where JSON has it, else its source."""
    try:
        return ast.literal_eval(parameter.default or "None")
    except ValueError:
        return parameter.default


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "summary": variant.summary,
        "data": variant.data,
        "protocol": vars(variant.protocol),
        "superseded_by": variant.superseded_by,
        "data_version": variant.data_version,
        "needed_lag": variant.needed_lag,
        "tuned": variant.tuned,
        "primary": vars(variant.primary),
        **vars(variant.scale),
        "baselines": {name: vars(baseline) for name, baseline in variant.baselines.items()},
    }


def _print_model(shown: dict[str, Any]) -> None:
    _print_heading(f"model {shown['name']}", shown)
    _section("Hyper-parameters")
    parameters = shown["hyperparameters"]
    if parameters is None:
        print(f"(another module defines the constructor; see the source of {shown['class']})")
    else:
        rows = [[each["name"], each["type"], _default(each), each["description"]] for each in parameters]
        print_table(["name", "type", "default", "description"], rows)
    _print_tuned("task", shown["tuned"])


def _print_task(shown: dict[str, Any]) -> None:
    _print_heading(f"task {shown['name']}: {shown['title']}", shown)
    _section("Measures")
    _paragraph(shown["measures"])
    _section("Sources")
    for source in shown["sources"]:
        _paragraph(f"- {source}")
    _print(f"licence: {shown['licence']}")
    variants = shown["variants"]
    _section("Variants")
    for name, each in variants.items():
        superseded = f" Superseded by {each['superseded_by']}." if each["superseded_by"] else ""
        version = f" Data version {each['data_version']}." if each["data_version"] else ""
        _paragraph(f"{name}: {each['summary']}{superseded}{version}")
    for name, reason in shown["broken_variants"].items():
        _paragraph(f"{name} is broken: {reason}")
    print()
    print_table(
        ["variant", "steps", "batch", "needed lag", "primary metric", "direction", "floor", "ceiling", "solved"],
        [
            [
                name,
                _text(each["protocol"]["max_steps"]),
                _text(each["protocol"]["batch_size"]),
                "-" if each["needed_lag"] is None else _text(each["needed_lag"]),
                each["primary"]["metric"],
                each["primary"]["direction"],
                _point(each, "floor"),
                _point(each, "ceiling"),
                _text(each["primary"]["solved"]),
            ]
            for name, each in variants.items()
        ],
    )
    regrets = [name for name, each in variants.items() if isinstance(each["primary"]["ceiling"], str)]
    if regrets:
        _paragraph(
            f"A score is 0 at the floor and 1 at the ceiling. The ceiling of {', '.join(regrets)} is a proven optimum, "
            "so that 1 - score is a regret: the share of the way from the optimum back to the floor."
        )
    _section("Baselines, on the test set")
    print_table(
        ["variant", "baseline", "metrics", "source"],
        [
            [
                name,
                baseline,
                ", ".join(f"{metric} {value:.6g}" for metric, value in one["values"].items()),
                one["source"],
            ]
            for name, each in variants.items()
            for baseline, one in each["baselines"].items()
        ],
    )
    for metric, reason in shown["retired"].items():
        _paragraph(f"{metric} is not measured any more: {reason}")
    _section("Options, with each variant's setting")
    print_table(
        ["name", "type", *variants, "description"],
        [
            [
                each["name"],
                each["type"],
                *(_setting(each, variant) for variant in variants.values()),
                each["description"],
            ]
            for each in shown["options"] or []
        ],
    )
    if shown["lag_option"]:
        _paragraph(f"{shown['lag_option']} sets the lag: rnnae-bench horizon finds the longest that a model solves.")
    of_variants = {
        f"{model} on {name}": settings for name, each in variants.items() for model, settings in each["tuned"].items()
    }
    _print_tuned("model", {**shown["tuned"], **of_variants})
    if shown["tuning"]:
        _paragraph(shown["tuning"])


def _point(variant: dict[str, Any], end: str) -> str:
    """Floor or ceiling: the value, and the baseline it is of where there is one."""
    named = variant["primary"][end]
    return f"{variant[end]:.6g} ({named})" if isinstance(named, str) else _text(named)


def _print_tuned(by: str, tuned: dict[str, dict[str, Any]]) -> None:
    _section(f"Tuned hyper-parameters, by {by}")
    rows = [[each, name, _text(value)] for each, settings in tuned.items() for name, value in settings.items()]
    if rows:
        print_table([by, "name", "value"], rows)
    else:
        print("none")


def _setting(parameter: dict[str, Any], variant: dict[str, Any]) -> str:
    name = parameter["name"]
    settings = {**variant["data"], **{f"protocol.{field}": value for field, value in variant["protocol"].items()}}
    return _text(settings[name]) if name in settings else _default(parameter)


def _default(parameter: dict[str, Any]) -> str:
    return "(required)" if parameter["required"] else _text(parameter["default"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _print_heading(title: str, shown: dict[str, Any]) -> None:
    _print(title)
    _print(f"{shown['class']}, {shown['distribution']} {shown['version']}")
    _print(f"{shown['path']}:{shown['line']}")
    if shown.get("readme"):
        _print(shown["readme"])
    print()
    _print(shown["description"])


def _section(title: str) -> None:
    print(f"\n{title}")


def _paragraph(text: str) -> None:
    width = min(100, shutil.get_terminal_size().columns)
    _print(textwrap.fill(text, width, break_on_hyphens=False))


def _print(text: str) -> None:
    """Print lines of a plugin's, in which the terminal obeys nothing."""
    print("\n".join(map(printable, text.split("\n"))))

"""The text of ``rnnae-bench show``: a model's, a task's or a probe's description for people."""

import json
import shutil
import textwrap
from typing import Any

from rnnae_bench.cli.table import print_table
from rnnae_bench.records.legible import printable


def print_model(shown: dict[str, Any]) -> None:
    """Print a model's description."""
    _print_heading(f"model {shown['name']}", shown)
    _print_parameters("Hyper-parameters", shown["hyperparameters"], shown["class"])
    _print_tuned("task", shown["tuned"])


def print_probe(shown: dict[str, Any]) -> None:
    """Print a probe's description."""
    _print_heading(f"probe {shown['name']}", shown)
    _print_parameters("Options", shown["options"], shown["class"])


def _print_parameters(title: str, parameters: list[dict[str, Any]] | None, where: str) -> None:
    _section(title)
    if parameters is None:
        print(f"(another module defines the constructor; see the source of {where})")
    elif not parameters:
        print("none")
    else:
        rows = [[each["name"], each["type"], _default(each), each["description"]] for each in parameters]
        print_table(["name", "type", "default", "description"], rows)


def print_task(shown: dict[str, Any]) -> None:
    """Print a task's description."""
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


def print_bibtex(shown: dict[str, Any]) -> None:
    """Print what to cite; where nothing is, say so in a comment."""
    if not shown["bibtex"]:
        _print(f"% the {shown['kind']} {shown['name']} names nothing to cite")
    for place, entry in enumerate(shown["bibtex"]):
        _print(f"\n{entry}" if place else entry)


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

"""What a shell is answered when it asks, after TAB, how a command line may go on. Nothing here imports torch.

Of the commands' parsers, only the one that the line names is made. `run` and `sweep`, whose parsers need heavy
packages, are read from where their options are declared.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rnnae_bench.cli import COMMANDS
from rnnae_bench.cli.leaderboard import ACTIONS
from rnnae_bench.cli.plugin import ACTIONS as PLUGIN_ACTIONS
from rnnae_bench.errors import UserError

Completer = Callable[..., Iterable[str]]


def answer() -> None:
    """Answer a shell that asks by argcomplete's protocol, and end the process."""
    import argcomplete
    from argcomplete.lexers import split_line

    line = os.environ["COMP_LINE"]
    _, _, _, words, _ = split_line(line, int(os.environ["COMP_POINT"]))
    argcomplete.autocomplete(parser_for(words[1:]), validator=lambda candidate, prefix: candidate.startswith(prefix))


def parser_for(words: list[str]) -> argparse.ArgumentParser:
    """A parser of the whole command line, with the options of the command that the words name."""
    root = argparse.ArgumentParser(prog="rnnae-bench", allow_abbrev=False)
    root.add_argument("--version", action="store_true")
    _add_words(root, COMMANDS, words, lambda name: _command(name, words[1:]))
    return root


def _add_words(
    parser: argparse.ArgumentParser,
    known: Mapping[str, str],
    words: list[str],
    make: Callable[[str], argparse.ArgumentParser],
) -> None:
    """Add the words as subcommands; the one that is named with its options."""
    following = parser.add_subparsers()
    for name, summary in known.items():
        parents = [make(name)] if words[:1] == [name] else []
        following.add_parser(name, help=summary, parents=parents, add_help=not parents)


def _command(name: str, words: list[str]) -> argparse.ArgumentParser:
    under = {"leaderboard": ACTIONS, "plugin": PLUGIN_ACTIONS}
    if name in under:
        parser = argparse.ArgumentParser()
        _add_words(parser, under[name], words, lambda action: _declared(f"{name}.{action}"))
        return parser
    if name == "run":
        return _run(words)
    if name == "sweep":
        return _sweep()
    return _declared(name)


def _declared(command: str) -> argparse.ArgumentParser:
    """The parser that a command's module makes."""
    module = import_module(f"rnnae_bench.cli.{command}")
    parser: argparse.ArgumentParser = module.opening() if command == "probe" else module.parser()
    ids = command in ("compare", "reproduce")
    for action in parser._actions:
        completer = _by_dest(action.dest, command, ids)
        if completer is not None:
            _complete(action, completer)
    return parser


def _by_dest(dest: str, command: str, ids: bool) -> Completer | None:
    if command == "show" and dest == "words":
        return _kinds_and_names
    if dest in ("task", "TASK[:VARIANT]"):
        return _tasks
    if dest in ("model", "MODEL"):
        return _models
    if dest == "rows" and command == "truth":
        return _truths
    if ids and dest in ("record", "first", "second"):
        return _records if dest == "record" else _records_and_models
    return None


def _complete(action: argparse.Action, completer: Completer) -> None:
    action.completer = completer  # type: ignore[attr-defined]


def _run(words: list[str]) -> argparse.ArgumentParser:
    """Its own options, and of the task and the model that are named already, theirs."""
    from rnnae_bench.cli.own_options import OwnOption, model_options, task_options
    from rnnae_bench.cli.run_help import TRAINER
    from rnnae_bench.cli.run_options import add_own

    parser = _empty("-h", "--help")
    task, model = (_named(words, part) for part in ("task", "model"))
    _complete(parser.add_argument("--task", help="a task"), _tasks)
    _complete(parser.add_argument("--model", help="a model"), _models)
    parser.add_argument("--config", help="a YAML file")
    add_own(lambda flag, **about: _own(parser, flag, about))
    parts: dict[str, Callable[[], Iterable[OwnOption]]] = {
        "task": lambda: task_options(task) if task else [],
        "model": lambda: model_options(model, task) if model else [],
        "trainer": lambda: TRAINER,
    }
    for part, options in parts.items():
        try:
            for one in options():
                choices = one.choices or (("true", "false") if one.type == "true|false" else None)
                parser.add_argument(f"--{part}.{one.name}", choices=choices, help=one.description)
        except UserError:
            # The name may not be written to its end yet.
            continue
    return parser


def _own(parser: argparse.ArgumentParser, flag: str, about: Mapping[str, Any]) -> None:
    kept = {key: value for key, value in about.items() if key in ("action", "help")}
    action = parser.add_argument(flag, **kept)
    if flag == "--keep":
        action.choices = ("weights",)
    elif flag == "--logger":
        _complete(action, _loggers)
    elif flag == "--probes":
        _complete(action, _probe_list)


def _named(words: list[str], part: str) -> str | None:
    """The task or model that the words name, without options in brackets."""
    for flag in (f"--{part}", f"--{part}.name"):
        for place, word in enumerate(words):
            given = word.partition("=")[2] if word.startswith(f"{flag}=") else None
            if word == flag and place + 1 < len(words):
                given = words[place + 1]
            if given:
                return given.partition("[")[0]
    return None


def _sweep() -> argparse.ArgumentParser:
    """A sweep's options as its dataclass declares them."""
    from rnnae_bench.cli.own_options import in_plain_words
    from rnnae_bench.plugins.source import read_class

    parser = _empty("-h", "--help")
    parser.add_argument("--config", help="a YAML file")
    source = read_class("rnnae_bench.sweeps.config", "SweepOptions")
    completers: dict[str, Completer] = {"task": _tasks, "model": _models, "logger": _loggers, "probes": _probe_list}
    for one in (source.parameters if source else None) or ():
        kind, choices = in_plain_words(one.type)
        flag = f"--{one.name.replace('_', '-')}"
        if kind == "true|false":
            parser.add_argument(flag, action="store_true", help=one.description)
            continue
        several = "append" if one.name in ("task", "model", "precision", "devices") else "store"
        action = parser.add_argument(flag, action=several, choices=choices or None, help=one.description)
        if one.name in completers:
            _complete(action, completers[one.name])
    return parser


def _empty(*help_flags: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*help_flags, action="store_true", help="show the options")
    return parser


def _models(prefix: str, **_: Any) -> Iterable[str]:
    from rnnae_bench.plugins.registry import models

    return models().names()


def _probes(prefix: str, **_: Any) -> Iterable[str]:
    from rnnae_bench.plugins.registry import probes

    return probes().names()


def _probe_list(prefix: str, **_: Any) -> Iterable[str]:
    """The probes that are not yet in the list."""
    return _further(prefix, _probes(prefix))


def _tasks(prefix: str, **_: Any) -> Iterator[str]:
    """Names and, once one alone is left, its variants."""
    from rnnae_bench.contracts.card import card_path, load_card
    from rnnae_bench.plugins.registry import tasks

    names = [name for name in tasks().names() if name.startswith(prefix.partition(":")[0])]
    if ":" in prefix:
        names = [name for name in names if name == prefix.partition(":")[0]]
    yield from names
    if len(names) == 1 or prefix in names:
        name = prefix.partition(":")[0] if len(names) > 1 else names[0]
        source = tasks().get(name).source()
        if source:
            yield from (f"{name}:{variant}" for variant in load_card(card_path(source.path, name)).variants)


def _kinds_and_names(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterator[str]:
    named: dict[str, Completer] = {"model": _models, "task": _tasks, "probe": _probes}
    before = [word for word in getattr(parsed_args, "words", None) or () if word in named]
    if not before:
        yield from named
    for kind, completer in named.items():
        if before in ([], [kind]):
            yield from completer(prefix)


def _records(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterator[str]:
    """The ids in the folder that the line names, or in ``runs``."""
    from rnnae_bench.cli.common import RUNS

    folder = Path(getattr(parsed_args, "source", None) or RUNS)
    yield from sorted(path.stem for path in folder.glob("*.json"))


def _records_and_models(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterator[str]:
    yield from _models(prefix)
    yield from _records(prefix, parsed_args)


def _loggers(prefix: str, **_: Any) -> Iterable[str]:
    """The loggers that are not yet in the list."""
    from rnnae_bench.leaderboard.trackers import LOGGERS

    return _further(prefix, LOGGERS)


def _further(prefix: str, names: Iterable[str]) -> Iterator[str]:
    """What may follow in a list that commas separate: the names that are not in it yet."""
    before, comma, _last = prefix.rpartition(",")
    yield from (f"{before}{comma}{name}" for name in names if name not in before.split(","))


def _truths(prefix: str, **_: Any) -> Iterable[str]:
    from rnnae_bench.api.truth.rows import ROWS

    return ROWS

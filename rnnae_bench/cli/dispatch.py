"""From the first word of a command line to the module that it names."""

import difflib
from collections.abc import Mapping
from importlib import import_module

from rnnae_bench.errors import UserError


def dispatch(arguments: list[str], known: Mapping[str, str], help: str, kind: str, under: str = "") -> int:
    """Print the help, or run the module that the first argument names; returns the exit code.

    Args:
        arguments: The command line from that word on.
        known: The words, with a summary of each.
        help: What ``-h`` prints, and no argument at all.
        kind: What a word names: ``command`` or ``action``.
        under: The command that has these actions; the module of ``build`` under ``leaderboard`` is
            ``rnnae_bench.cli.leaderboard.build``.

    Raises:
        UserError: the word is none of them.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help)
        return 0 if arguments else 2
    name = arguments[0]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"there is no {kind} '{f'{under} {name}'.strip()}'; {hint}{kind}s: {', '.join(known)}")
    module = f"{under}.{name}" if under else name
    code: int = import_module(f"rnnae_bench.cli.{module}").main(arguments[1:])
    return code

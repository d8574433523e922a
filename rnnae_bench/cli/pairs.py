"""The pair that a command line names, with options in brackets: ``copy[delay=50]`` and ``gru[hidden_size=64]``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text, written
from rnnae_bench.options.nested import flatten
from rnnae_bench.plugins.registry import models, parse_task, tasks

if TYPE_CHECKING:
    from rnnae_bench.trial.pair import Pair


def load_pair(task: str, model: str) -> "tuple[Pair, list[str]]":
    """The pair of these names, and the options in their brackets as flags of its command line.

    Names are looked up before anything heavy is imported.

    Raises:
        UserError: unknown names, malformed brackets, a torchvision that does not fit torch, or what `Pair` refuses.
    """
    (task, of_task), (model, of_model) = parse_text(task), parse_text(model)
    tasks().get(parse_task(task)[0])
    models().get(model)
    load_libraries()
    from rnnae_bench.trial.pair import Pair

    with plugins_aside():
        pair = Pair(task, model)
    parts = {"task": of_task, "model": of_model}
    flags = [f"--{part}.{name}={written(value)}" for part, some in parts.items() for name, value in some.items()]
    return pair, flags


def require_agreement(pair: "Pair", bracketed: Sequence[str], others: Sequence[str]) -> None:
    """Raise `UserError` where an option is given in brackets and beside them, and not as the same.

    Args:
        pair: The pair, whose parser has all options of the command.
        bracketed: The options in brackets, as flags.
        others: The rest of the command line.
    """
    if not bracketed:
        return
    plain = [one for one in others if not one.startswith("--print_config")]
    inside, beside = (flatten(pair.parse(list(words), defaults=False).as_dict()) for words in (bracketed, plain))
    for name in inside.keys() & beside.keys():
        if inside[name] != beside[name]:
            raise UserError(
                f"--{name} is {written(inside[name])} in brackets and {written(beside[name])} beside them; "
                "leave one out"
            )

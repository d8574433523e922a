"""The options of a task or model as its source and its card have them: nothing is imported."""

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnnae_bench.contracts.card import card_path, load_card
from rnnae_bench.options.nested import flatten
from rnnae_bench.plugins.registry import Handle, models, parse_task, tasks
from rnnae_bench.plugins.source import Parameter

_NOT_OPTIONS = ("spec", "data_seed")
"""Arguments that the suite gives."""

_WORDS = {"int": "int", "float": "float", "str": "text", "bool": "true|false"}


@dataclass(frozen=True)
class OwnOption:
    """One option of a task or model, in plain words."""

    name: str
    """Dotted, as after ``--task.``."""
    type: str
    choices: tuple[str, ...]
    """What a text may be, where only some may."""
    default: str
    description: str


def own_parameters(handle: Handle) -> tuple[Parameter, ...]:
    """The constructor's arguments that a user may set; none where the source doesn't show them."""
    source = None if handle.broken() else handle.source()
    shown = source.parameters if source else None
    return tuple(one for one in shown or () if one.name.partition(".")[0] not in _NOT_OPTIONS)


def task_options(text: str) -> list[OwnOption]:
    """The options of ``NAME[:VARIANT]`` with that variant's settings.

    Raises:
        UserError: there is no such task or variant, or its card is wrong.
    """
    name, variant = parse_task(text)
    handle = tasks().get(name)
    source = handle.source()
    frozen = load_card(card_path(source.path, name)).variant(variant) if source else None
    settings: dict[str, Any] = {}
    if frozen:
        settings = {**frozen.data, **{f"protocol.{field}": value for field, value in vars(frozen.protocol).items()}}
    return [*_options(own_parameters(handle), settings)]


def model_options(name: str, task: str | None = None) -> list[OwnOption]:
    """The options of a model, with the hyper-parameters that were tuned on ``NAME[:VARIANT]``.

    Raises:
        UserError: there is no such model, task or variant.
    """
    handle = models().get(name)
    tuned: dict[str, Any] = {}
    if task is not None:
        base, variant = parse_task(task)
        source = tasks().get(base).source()
        card = load_card(card_path(source.path, base)) if source else None
        tuned = flatten(card.tuned_on(card.variant(variant).name, name)) if card else {}
    return [*_options(own_parameters(handle), tuned)]


def _options(parameters: tuple[Parameter, ...], settings: Mapping[str, Any]) -> Iterator[OwnOption]:
    for one in parameters:
        if one.name in settings:
            default = _shown(settings[one.name])
        else:
            default = "required" if one.default is None else _written(one.default)
        type, choices = in_plain_words(one.type)
        yield OwnOption(one.name, type, choices, default, one.description)


def in_plain_words(annotation: str) -> tuple[str, tuple[str, ...]]:
    """A type as a reader of help wants it, and what a text may be where only some may.

    >>> in_plain_words("Literal['norm', 'value']"), in_plain_words("int | None"), in_plain_words("tuple[int, ...]")
    (('norm|value', ('norm', 'value')), ('int', ()), ('list', ()))
    """
    try:
        return _plain(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return "value", ()


def _plain(node: ast.expr) -> tuple[str, tuple[str, ...]]:
    if isinstance(node, ast.BinOp):
        parts = [_plain(side) for side in (node.left, node.right) if ast.unparse(side) != "None"]
        return "|".join(dict.fromkeys(words for words, _ in parts)), tuple(one for _, some in parts for one in some)
    if isinstance(node, ast.Subscript):
        kind = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if kind == "Literal":
            words = tuple(str(ast.literal_eval(one)) for one in inner)
            return "|".join(words), words
        if kind in ("Annotated", "Optional"):
            return _plain(inner[0])
        return ("mapping" if kind in ("dict", "Mapping") else "list"), ()
    return _WORDS.get(ast.unparse(node), "value"), ()


def _written(source: str) -> str:
    try:
        return _shown(ast.literal_eval(source))
    except ValueError:
        return source


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

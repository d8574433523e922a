"""What a search may try for an option: declared beside its type, as ``Annotated[int, Range(16, 256, log=True)]``.

Importing this module imports no torch, so that a sweep can hold ranges that a worker read off a model.
"""

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.options import plain as values


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers where both ends are.

    Args:
        low: The smallest.
        high: The largest.
        log: Search evenly in the logarithm.
    """

    low: float | int
    high: float | int
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(f"the range from {self.low} to {self.high} is empty; low must be below high")
        if self.log and self.low <= 0:
            raise UserError(f"the range from {self.low} to {self.high} has no logarithm; low must be above 0")

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choices:
    """Some values, in no order.

    Args:
        values: What may be chosen, at least one.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UserError("there is nothing to choose from; give at least one value")


Dimension = Range | Choices
"""What may be tried for one option."""


def declared(function: Any) -> dict[str, Dimension]:
    """What the annotations of a constructor (or any callable) declare, by dotted option name.

    An argument that is a dataclass is looked into: its fields' names follow its own after a dot.

    >>> from typing import Annotated
    >>> def build(width: Annotated[int, Range(1, 8)] = 4, depth: int = 1): ...
    >>> declared(build)
    {'width': Range(low=1, high=8, log=False)}
    """
    return dict(_declared(function, ""))


def _declared(function: Any, prefix: str) -> Iterator[tuple[str, Dimension]]:
    target = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(target, include_extras=True)
    for name in inspect.signature(function).parameters:
        hint: Any = hints.get(name)
        if typing.get_origin(hint) is typing.Annotated:
            found = [each for each in hint.__metadata__ if isinstance(each, Range | Choices)]
            yield from ((f"{prefix}{name}", each) for each in found[:1])
        elif inspect.isclass(hint) and dataclasses.is_dataclass(hint):
            yield from _declared(hint, f"{prefix}{name}.")


def plain(dimension: Dimension) -> dict[str, Any] | list[Any]:
    """The dimension as YAML or JSON has it.

    >>> plain(Range(1, 8)), plain(Choices(("relu", "tanh")))
    ({'low': 1, 'high': 8, 'log': False}, ['relu', 'tanh'])
    """
    return dataclasses.asdict(dimension) if isinstance(dimension, Range) else values.plain(list(dimension.values))


def dimension_from(data: Any, option: str) -> Dimension:
    """The dimension that `plain` gave, or that a user wrote.

    Args:
        data: ``{low: 16, high: 256, log: true}``, or a list of choices.
        option: What it is for, to name in an error.

    Raises:
        UserError: it is neither.
    """
    try:
        if isinstance(data, list):
            return Choices(tuple(data))
        if is_range(data) and all(isinstance(data[end], int | float) for end in ("low", "high")):
            return Range(**data)
    except (TypeError, UserError) as error:
        raise UserError(f"search space of {option}: {error}") from error
    raise UserError(f"search space of {option}: got {data!r}; write {{low: 16, high: 256, log: true}} or [a, b, c]")


def is_range(data: Any) -> bool:
    """Whether plain data are meant as a range."""
    return isinstance(data, Mapping) and {"low", "high"} <= data.keys()

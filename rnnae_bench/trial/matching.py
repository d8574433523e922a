"""The width at which a model has as many parameters, or as large a state, as is wanted.

For its weights or its state nothing is trained: models are built on torch's meta device, without memory for their
weights. For seconds of training the first steps are.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning import LightningModule

from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.options.limits import bounded
from rnnae_bench.options.nested import flatten, merge, nest
from rnnae_bench.options.quantities import Quantity, matched_to
from rnnae_bench.probes.base import is_lazy
from rnnae_bench.probes.cost import trained_numbers
from rnnae_bench.records.record import Match
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.preflight import BUILD_MEMORY, BUILD_SECONDS
from rnnae_bench.trial.process_state import fresh_process
from rnnae_bench.trial.timing import require_timeable, training_seconds

WIDTH_OPTIONS = ("hidden_size", "hidden_sizes", "channels")
"""What the width of a model is called that does not say it by `BenchModule.width_option`: the first that it has."""

WIDEST = 2**16
"""The largest width that is tried."""

TOLERANCE = 0.05
"""By how much of it a quantity may miss what was asked."""

TOLERANCES = {"seconds": 0.25}
"""The same where it is another."""

PARTS = {"seconds": 1000}
"""Parts of a unit in which another quantity is measured."""

PRECISION = {"seconds": 0.1}
"""Within how much of what is asked no nearer width is looked for: times are no more exact. Of others, none."""

_GAP = 64
"""Widths in a row that a model may refuse, as one that wants a multiple of its heads does."""

Measure = Callable[[int], int | None]
"""The quantity at a width; None where the model refuses that."""


def match_width(
    pair: Pair, options: Mapping[str, Mapping[str, Any]], given: Iterable[str], wanted: str
) -> tuple[dict[str, Any], Match | None]:
    """The model's options that give it the wanted size, nested, and what was asked and got.

    There are none where the task can't be made, or the model does not support it, which is for the trial to tell.

    Args:
        pair: Task variant and model.
        options: All options of the pair, as from `Pair.resolve`.
        given: Names of the model's options that the user chose.
        wanted: As ``parameters=10k``, ``state=256`` or ``seconds=60``.

    Raises:
        UserError: the user chose the width too, there is none, or no width comes near enough.
    """
    quantity, asked = matched_to(wanted)
    with fresh_process():
        try:
            task = pair.build_task(options["task"], data_seed=0)
        except (Exception, SystemExit):
            return {}, None
        if pair.unsupported(task, options["model"]):
            return {}, None
        option, who = _width_option(pair, wanted), f"{pair.model_handle.name} on {pair.label}"
        if option in given:
            raise UserError(f"--match {wanted} chooses --model.{option}, which is given too; leave one of them out")
        if quantity == "seconds":
            require_timeable(asked, task.protocol.max_steps)
        sizes = _Sizes(pair, task, options, option, quantity)
        parts = PARTS.get(quantity, 1)
        found = nearest(sizes, parts * asked, PRECISION.get(quantity, 0.0) * parts * asked)
        if found is None:
            raise sizes.refusals[-1]
        width, got = found
        # Of seconds no two measurements are the same.
        others = [factor * width for factor in (2, 4, 16, 256) if factor * width <= WIDEST]
        fixed = quantity != "seconds" and all(sizes(other) in (got, None) for other in [*sizes.seen, *others])
    value = sizes.value(width)
    has = f"{got / parts:,g} {_IN_WORDS[quantity]}" if parts > 1 else f"{got:,} {_IN_WORDS[quantity]}"
    if fixed:
        raise UserError(f"--match {wanted}: {who} has {has}, whatever its {option}")
    if abs(got - parts * asked) > TOLERANCES.get(quantity, TOLERANCE) * parts * asked:
        raise UserError(
            f"--match {wanted}: the nearest that {who} reaches is {has}, at {option}={value}; ask for that, or match "
            "another quantity"
        )
    return nest({option: value}), Match(
        quantity=quantity, asked=asked, got=max(1, round(got / parts)), option=option, width=width
    )


def nearest(measure: Measure, asked: int, close: float = 0.0) -> tuple[int, int] | None:
    """The width whose quantity is nearest to what is asked, the smaller of two that are as near, and the quantity.

    Widths are doubled until the quantity is reached, and halved between the last two: it must not fall with the width.
    None where every width that is tried is refused. The first whose quantity is so `close` to what is asked is taken.

    >>> nearest(lambda width: width**2, 50)
    (7, 49)
    """

    def first_from(start: int, end: int) -> int | None:
        taken = (width for width in range(start, min(start + _GAP, end)) if measure(width) is not None)
        return next(taken, None)

    def value(width: int) -> int:
        found = measure(width)
        assert found is not None
        return found

    def is_close(width: int | None) -> bool:
        return close > 0 and width is not None and abs(value(width) - asked) <= close

    low = first_from(1, WIDEST + 1)
    if low is None:
        return None
    high: int | None = low
    while high is not None and value(high) < asked and not is_close(high):
        low, high = high, first_from(2 * high, WIDEST + 1)
    if high is not None and is_close(high):
        return high, value(high)
    # Where the model refuses the last doubling, what is bisected is the widest that it takes.
    end = min(2 * low, WIDEST + 1) if high is None else high
    while (middle := (low + end) // 2) > low:
        found = first_from(middle, end)
        if found is not None and is_close(found):
            return found, value(found)
        if found is None:
            end = middle
        elif value(found) < asked:
            low = found
        else:
            high = end = found
    width = min((low, high or low), key=lambda one: (abs(value(one) - asked), one))
    return width, value(width)


class _Sizes:
    """The quantity of a model by its width; each width is built once."""

    def __init__(
        self, pair: Pair, task: Task, options: Mapping[str, Mapping[str, Any]], option: str, quantity: Quantity
    ) -> None:
        self._pair, self._task, self._options, self._option, self._quantity = pair, task, options, option, quantity
        self._default = flatten(pair.defaults["model"])[option]
        self.seen: dict[int, int | None] = {}
        self.refusals: list[UserError] = []
        """What the model said to the widths that it refused."""

    def value(self, width: int) -> Any:
        """The option's value for a width: of several sizes the largest, to which the others keep their proportion."""
        if not isinstance(self._default, list | tuple):
            return width
        largest = max(self._default, default=width)
        return [max(1, round(width * size / largest)) for size in self._default or [largest]]

    def __call__(self, width: int) -> int | None:
        if width not in self.seen:
            chosen = merge(self._options["model"], nest({self._option: self.value(width)}))
            try:
                self.seen[width] = self._measured(chosen)
            except UserError as error:
                self.refusals.append(error)
                self.seen[width] = None
        return self.seen[width]

    def _measured(self, model: Mapping[str, Any]) -> int:
        if self._quantity == "seconds":
            return round(PARTS["seconds"] * training_seconds(self._pair, {**self._options, "model": model}))
        return _MEASURES[self._quantity](_built(self._pair, self._task, model))


def _width_option(pair: Pair, wanted: str) -> str:
    """The dotted name of the hyper-parameter that says how wide the model is."""
    declared = getattr(pair.model_class, "width_option", None)
    known = [name for name in ([declared] if declared else WIDTH_OPTIONS) if f"model.{name}" in pair.hints]
    if not known:
        called = declared or ", ".join(WIDTH_OPTIONS)
        raise UserError(
            f"--match {wanted}: model '{pair.model_handle.name}' has no width to choose (an option {called}); its "
            "class may name one as width_option"
        )
    return str(known[0])


def _built(pair: Pair, task: Task, options: Mapping[str, Any]) -> LightningModule:
    """The model without its weights; with them, where it can't be built without."""
    with bounded("building the model", BUILD_MEMORY, BUILD_SECONDS):
        try:
            with torch.device("meta"):
                return pair.build_model(task, options, seed=0)
        except UserError:
            raise
        except (Exception, SystemExit):
            pass
        try:
            return pair.build_model(task, options, seed=0)
        except ValueError as error:
            raise UserError(f"model '{pair.model_handle.name}' refuses these options: {error}") from error


def _parameters(model: LightningModule) -> int:
    if any(is_lazy(weight) for weight in model.parameters()):
        raise UserError("--match parameters: the model has lazy layers, whose weights are not known before it runs")
    return trained_numbers(model)


def _state(model: LightningModule) -> int:
    size = getattr(model, "state_size", None)
    if isinstance(size, Growing):
        raise UserError(f"--match state: the model's state grows with time, by {size} numbers; match parameters")
    if size is None:
        raise UserError("--match state: the model does not say how large its state is; match parameters")
    return int(size)


_MEASURES: dict[Quantity, Callable[[LightningModule], int]] = {"parameters": _parameters, "state": _state}
_IN_WORDS: dict[Quantity, str] = {
    "parameters": "parameters",
    "state": "numbers in its state",
    "seconds": "seconds of training",
}

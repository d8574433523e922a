"""What all probes have in common, and the buffer that lets them measure every step without waiting for the device."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from traceback import extract_tb
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import Callback
from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.history import Series
from rnnae_bench.training.optimizer_steps import OptimizerSteps

_LONGEST_REASON = 300
"""Characters."""


class Diverged(Exception):
    """The training loss stopped being a finite number.

    Args:
        step: The first optimiser step whose loss was not finite.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"the training loss was not finite at step {step}")
        self.step = step


def in_short(reason: str) -> str:
    """A reason that is not too long for a record."""
    return shorten(reason, _LONGEST_REASON)


def _place(error: BaseException) -> str:
    """Where an error was raised, as the end of a line."""
    frames = extract_tb(error.__traceback__)
    return f", in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


_WITHOUT_ERRORS = (*Callback.__mro__, OptimizerSteps)
"""Classes whose hooks, where a probe has no other, need no guard."""


def _guard_of(name: str) -> Callable[[Any], Any] | None:
    """What keeps an error in a method of a probe, by its name, from ending the trial; None where nothing need."""
    if name == "state_dict":
        return _never_lost
    return _never_ending if name.startswith("on_") or name in ("setup", "teardown", "load_state_dict") else None


def _never_ending(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A probe's hook, such that an error in it switches the probe off and is not raised."""

    @functools.wraps(hook)
    def call(probe: "Probe", *args: Any, **options: Any) -> Any:
        if probe.stopped:
            return None
        try:
            return hook(probe, *args, **options)
        except (Exception, SystemExit) as error:
            probe._stop(error)

    return call


def _never_lost(state_dict: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A probe's `state_dict`, such that a plugin's that can't be kept switches the probe off."""

    @functools.wraps(state_dict)
    def call(probe: "Probe") -> dict[str, Any]:
        try:
            state = state_dict(probe)
            if probe.added:
                _require_plain(state, "state_dict()")
            return state
        except (Exception, SystemExit) as error:
            probe._stop(error)
            return {"absent": dict(probe.absent), "stopped": True}

    return call


def _require_plain(value: Any, where: str) -> None:
    """Raise `TypeError` for what is more than tensors and plain data, which no checkpoint holds."""
    if isinstance(value, dict):
        for key, one in value.items():
            _require_plain(one, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for place, one in enumerate(value):
            _require_plain(one, f"{where}[{place}]")
    elif not (value is None or isinstance(value, Tensor | str | int | float | np.generic)):
        raise TypeError(f"{where} is of {type(value).__name__}, and a checkpoint holds tensors and plain data only")


class Probe(Callback):
    """A callback that measures. What it measured is asked for after the trial, however that ended.

    A probe never ends a trial: where one of its hooks raises (anything but `Diverged`), it is switched off from then
    on, keeps what it has, and says why in `absent`. Where a part of it fails within `measuring`, it goes on with the
    rest.

    That of a plugin gives a `subject`, and what it measured by `series` and `measures`, under names that are the
    subject or begin with it and a slash. Derived from `OptimizerSteps` too, it is told of every optimiser step.
    """

    subject: ClassVar[str] = ""
    """The probe as a whole in `absent`: the name of its measure, or what the names of its columns begin with."""

    essential: ClassVar[bool] = False
    """Whether there is no result without it, so that its failure is the trial's; never of a plugin's."""

    added = False
    """Whether it is a plugin's, beside the suite's own."""

    stopped = False
    """Whether it was switched off."""

    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes that a checkpoint of the trial holds: what was measured so far. Their values are `StepBuffer`s, or
    tensors, numbers, texts, None, and containers of these."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        foreign = [base for base in cls.__mro__ if not issubclass(base, Probe) and base not in _WITHOUT_ERRORS]
        for base in (*reversed(foreign), cls):
            for name, hook in list(vars(base).items()):
                guard = _guard_of(name)
                if guard and callable(hook) and (base is cls or getattr(cls, name) is hook):
                    setattr(cls, name, guard(hook))

    @property
    def absent(self) -> dict[str, str]:
        """What could not be measured: names of measures or columns, or what these begin with, and why in one line."""
        found: dict[str, str] = self.__dict__.setdefault("_absent", {})
        return found

    @property
    def errors(self) -> list[str]:
        """What was raised in it, a line each with its place, but for `UserError`, which says why on purpose."""
        found: list[str] = self.__dict__.setdefault("_errors", [])
        return found

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Within, an error means that this can't be measured, and is noted in `absent`; the probe goes on.

        Args:
            name: Of a measure or a column, or what these begin with.
        """
        try:
            yield
        except Exception as error:
            self._note(name, error)

    def _note(self, name: str, error: Exception | SystemExit) -> None:
        if not self.added and (self.essential or isinstance(error, Diverged | SystemExit)):
            raise error
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        if kind:
            self.errors.append(f"{kind}{in_a_line(error)}{_place(error)}")
        self.absent.setdefault(name, in_short(f"{kind}{in_a_line(error)}"))

    def _stop(self, error: Exception | SystemExit) -> None:
        """Switch it off, with the reason in `absent`; where no trial can do without it, raise the error."""
        self._note(self.subject, error)
        self.stopped = True

    @property
    def state_key(self) -> str:
        """Under which a checkpoint holds its state: two classes of one name, of two plugins, don't share it."""
        return f"{type(self).__module__}:{type(self).__qualname__}"

    @_never_lost
    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, as plain data and tensors."""
        state = {name: getattr(self, name) for name in self.kept}
        plain = {name: value.state() if isinstance(value, StepBuffer) else value for name, value in state.items()}
        return {**plain, "absent": dict(self.absent), "stopped": self.stopped}

    @_never_ending
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave in another process."""
        self.absent.update(state_dict["absent"])
        self.stopped = state_dict["stopped"]
        for name in state_dict.keys() & set(self.kept):
            if isinstance(buffer := getattr(self, name), StepBuffer):
                buffer.restore(state_dict[name])
            else:
                setattr(self, name, state_dict[name])

    def series(self) -> dict[str, Series]:
        """Histories by column name: what was measured at which optimiser steps."""
        return {}

    def measures(self) -> dict[str, Any]:
        """Numbers about the whole trial, by name; None where there is nothing to say."""
        return {}


class StepBuffer:
    """Rows of numbers measured on the device, one row a step, fetched from there a block at a time.

    A row is whatever is measured in one step: a number, a vector, or one of these for each of K models.

    Fetching a number from a GPU waits for all work queued before it; a block of 256 steps waits once.
    """

    BLOCK = 256

    def __init__(self) -> None:
        self._waiting: list[Tensor] = []
        self._blocks: list[np.ndarray] = []
        self._steps: list[int] = []

    def append(self, step: int, row: Tensor) -> None:
        """Add what an optimiser step measured, always of the same shape."""
        self._steps.append(step)
        self._waiting.append(row.detach())
        if len(self._waiting) == self.BLOCK:
            self._fetch()

    def _fetch(self) -> None:
        if self._waiting:
            self._blocks.append(torch.stack(self._waiting).to("cpu", torch.float64).numpy())
            self._waiting.clear()

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps ``[rows]`` and values ``[rows *shape]`` so far, in float64."""
        self._fetch()
        values = np.concatenate(self._blocks) if self._blocks else np.empty((0, 0))
        return np.array(self._steps, dtype=np.int64), values

    def state(self) -> dict[str, Tensor]:
        """All rows so far, for `restore`."""
        steps, values = self.rows()
        return {"steps": torch.from_numpy(steps), "values": torch.from_numpy(values)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Hold the rows that `state` gave, and no others."""
        self._waiting.clear()
        self._steps = state["steps"].tolist()
        self._blocks = [state["values"].numpy()] if self._steps else []

    def of_member(self, member: int) -> "StepBuffer":
        """What is in it of one of K models, the first axis of every row."""
        self._fetch()
        mine = StepBuffer()
        mine._steps = list(self._steps)
        mine._blocks = [block[:, member] for block in self._blocks]
        return mine


def is_lazy(weight: Tensor) -> bool:
    """Whether a weight has no shape yet, since its module has seen no input."""
    return isinstance(weight, UninitializedParameter)

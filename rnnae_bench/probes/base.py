"""What all probes have in common, and the buffer that lets them measure every step without waiting for the device."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any, ClassVar

import numpy as np
import torch
from lightning import Callback
from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.history import Series

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


class Probe(Callback):
    """A callback that measures. What it measured is asked for after the trial, however that ended.

    A probe never ends a trial: where one of its hooks raises (anything but `Diverged`), it is switched off from then
    on, keeps what it has, and says why in `absent`. Where a part of it fails within `measuring`, it goes on with the
    rest.
    """

    subject: ClassVar[str] = ""
    """The probe as a whole in `absent`: the name of its measure, or what the names of its columns begin with."""

    essential: ClassVar[bool] = False
    """Whether there is no result without it, so that its failure is the trial's."""

    stopped = False
    """Whether it was switched off."""

    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes that a checkpoint of the trial holds: what was measured so far. Their values are `StepBuffer`s, or
    tensors, numbers, texts, None, and containers of these."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, hook in list(vars(cls).items()):
            if callable(hook) and (name.startswith("on_") or name in ("setup", "teardown")):
                setattr(cls, name, _never_ending(hook))

    @property
    def absent(self) -> dict[str, str]:
        """What could not be measured: names of measures or columns, or what these begin with, and why in one line."""
        found: dict[str, str] = self.__dict__.setdefault("_absent", {})
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

    def _note(self, name: str, error: Exception) -> None:
        if self.essential or isinstance(error, Diverged):
            raise error
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        self.absent.setdefault(name, shorten(f"{kind}{in_a_line(error)}", _LONGEST_REASON))

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, as plain data and tensors."""
        state = {name: getattr(self, name) for name in self.kept}
        plain = {name: value.state() if isinstance(value, StepBuffer) else value for name, value in state.items()}
        return {**plain, "absent": dict(self.absent), "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave in another process."""
        self.absent.update(state_dict["absent"])
        self.stopped = state_dict["stopped"]
        for name in self.kept:
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


def _never_ending(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A probe's hook, such that an error in it switches the probe off and is not raised."""

    @functools.wraps(hook)
    def call(probe: Probe, *args: Any, **options: Any) -> Any:
        if probe.stopped:
            return None
        try:
            return hook(probe, *args, **options)
        except Exception as error:
            probe._note(probe.subject, error)
            probe.stopped = True

    return call


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

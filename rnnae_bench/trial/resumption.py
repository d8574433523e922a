"""The checkpoint that a trial goes on from: whether there is one, made as this trial is, and what may stand in it."""

import hashlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO

from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.checkpoints import Checkpoint, Checkpoints
from rnnae_bench.training.own_fit import fits_itself
from rnnae_bench.trial import environment
from rnnae_bench.trial.added_probes import AddedProbe, origins
from rnnae_bench.trial.determinants import Determinants
from rnnae_bench.trial.layout import has_whole_weights


def require_resumable(trial: Determinants, task: Task) -> None:
    """Raise `UserError` where a trial can't go on from a checkpoint exactly."""
    if not has_whole_weights(trial.layout):
        raise UserError(f"--checkpoint-every can't keep the state of {trial.layout['strategy']}; leave it out")
    if fits_itself(trial.pair.model_class):
        raise UserError(
            f"--checkpoint-every is for training in steps, and model '{trial.pair.model_handle.name}' trains itself by "
            "fit; leave it out"
        )
    if type(task).train_dataloader is not Task.train_dataloader:
        raise UserError(
            f"--checkpoint-every can't keep the place in the data of '{trial.pair.label}', which has a "
            "train_dataloader of its own; give its batches by train_batch(step), or leave --checkpoint-every out"
        )


_SOURCE = "the source"


class Resumption:
    """Takes a trial's checkpoints, and finds the one that it goes on from.

    Args:
        checkpoints: Where they lie.
        trial: What determines the trial.
        fingerprints: Of its data.
        every: Seconds between two checkpoints; the first is taken before the first step.
        tell: Is told, in a line, what becomes of a checkpoint, where that is not as it should be or one was found.
        probes: Those of plugins, whose measurements a checkpoint holds too.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        trial: Determinants,
        fingerprints: Mapping[str, str],
        every: float,
        tell: Callable[[str], None],
        probes: Sequence[AddedProbe] = (),
    ) -> None:
        self.every, self._tell = every, tell
        self._checkpoints, self._identity = checkpoints, trial.identity
        self._made_by = {
            **environment.versions(),
            **trial.plugins,
            **{f"the probe {label}": origin for label, origin in origins(probes).items()},
            _SOURCE: _source(trial.pair.task_class, trial.pair.model_class, *(one.probe_class for one in probes)),
            **{f"{name} data": one for name, one in fingerprints.items()},
        }
        self.found = self._find()
        """The checkpoint to go on from."""
        self.kept: int | None = None
        """The optimiser steps done at the last checkpoint that was taken or gone on from."""

    @property
    def path(self) -> Path:
        """Of the checkpoint's file."""
        return self._checkpoints.path(self._identity)

    @property
    def begins_at(self) -> Path | None:
        """The file that the training goes on from; None: it starts anew."""
        return self.path if self.found is not None else None

    @property
    def remark(self) -> str:
        """What there is to add where the trial was stopped."""
        if self.kept is None:
            return ""
        return f"; the same command goes on from its checkpoint of step {self.kept}"

    def _find(self) -> Checkpoint | None:
        try:
            found = self._checkpoints.read(self._identity)
            if found is not None:
                self._require_alike(found)
                _loaded(found.state)
        except ValueError as error:
            self._tell(f"its checkpoint {self.path} is not used: {error}; it starts anew")
            return None
        if found is not None:
            self._tell(f"it goes on from its checkpoint of step {found.step}")
        return found

    def _require_alike(self, found: Checkpoint) -> None:
        # The digest of all sources last: it tells least of what differs.
        for name in sorted({**self._made_by, **found.made_by}, key=lambda name: name == _SOURCE):
            there, here = found.made_by.get(name), self._made_by.get(name)
            if there != here:
                raise ValueError(f"{name} was {there} there and is {here} here")

    def write(self, step: int, state: bytes) -> None:
        """Replace the checkpoint; that it can't be written (a full disk, say) does not end the trial."""
        try:
            self._checkpoints.write(Checkpoint(self._identity, step, self._made_by, state))
        except OSError as error:
            self._tell(f"its checkpoint of step {step} could not be written: {error.strerror}")
        else:
            self.kept = step


def _source(*classes: type) -> str:
    """A digest of the source of this suite and of the packages that classes come from."""
    digest = hashlib.sha256()
    names = {one.__module__.partition(".")[0] for one in classes} | {"rnnae_bench"}
    modules = {name: sys.modules[name] for name in names if name in sys.modules}
    modules |= {one.__module__: sys.modules[one.__module__] for one in classes}
    for _, module in sorted(modules.items()):
        files = [file for folder in getattr(module, "__path__", ()) for file in sorted(Path(folder).rglob("*.py"))]
        if getattr(module, "__file__", None):
            files.append(Path(str(module.__file__)))
        for file in files:
            digest.update(file.name.encode() + file.read_bytes())
        if not files:
            # Of a notebook, say: nobody can tell whether it is the same again.
            digest.update(os.urandom(16))
    return digest.hexdigest()[:16]


class OneFile(CheckpointIO):
    """Has Lightning write its checkpoints into the trial's own file, and read them from there.

    Args:
        resumption: Whose file.
    """

    def __init__(self, resumption: Resumption) -> None:
        self._resumption = resumption
        self._was_tried = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write it; the first is read back, to refuse at once what could not be gone on from."""
        buffer = io.BytesIO()
        try:
            torch.save(_plain(checkpoint), buffer)
            if not self._was_tried:
                _loaded(buffer.getvalue())
        except Exception as error:
            raise UserError(
                f"--checkpoint-every can't keep the state of this trial, which is more than tensors and plain data "
                f"({in_a_line(error)[:200]}); leave it out"
            ) from error
        self._was_tried = True
        self._resumption.write(checkpoint["global_step"], buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The state that was found; only tensors and plain data are read, on the device that they come from."""
        assert self._resumption.found is not None
        return _loaded(self._resumption.found.state)

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing is removed while a trial runs."""


def _plain(value: Any) -> Any:
    """The same data with numpy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {key: _plain(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(one) for one in value)
    return value


def _loaded(state: bytes) -> dict[str, Any]:
    """What a checkpoint holds: tensors and plain data, and nothing that runs code when it is read.

    Raises:
        ValueError: it holds something else.
    """
    try:
        found: dict[str, Any] = torch.load(io.BytesIO(state), map_location=_location, weights_only=True)
        return found
    except Exception as error:
        raise ValueError(in_a_line(error)) from error


def _location(storage: Any, location: str) -> Any:
    """Where a tensor goes that was kept: to the GPU that this process computes on, if it came from one."""
    return storage if location == "cpu" else storage.cuda(torch.cuda.current_device())

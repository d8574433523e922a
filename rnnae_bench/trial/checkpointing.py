"""Checkpoints of a trial between two optimiser steps, and going on from one as if nothing had happened.

Lightning restores weights, optimisers, schedules, the loss scale and its loops; what it does not know of is kept here:
random states, what the probes have measured (by their `state_dict`), and what a model carries from batch to batch in
attributes. A checkpoint is taken as a batch (or block of batches) begins, when all that belongs to the last one is
done, a look at the validation set included.
"""

import hashlib
import io
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor, nn

from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.checkpoints import Checkpoint, Checkpoints
from rnnae_bench.training.block_loop import WHOLE_STRATEGIES
from rnnae_bench.training.optimizer_steps import OptimizerSteps
from rnnae_bench.training.own_fit import fits_itself
from rnnae_bench.trial import environment
from rnnae_bench.trial.determinants import Determinants
from rnnae_bench.trial.interruption import Interruption, Interruptions

GRACE_SECONDS = 20.0
"""How long a signal that asks to stop waits for the place where a checkpoint can be taken. SLURM kills after 30."""

_OWN = "rnnae_bench"
"""Where in Lightning's checkpoint that lies which Lightning does not know of."""


def require_resumable(trial: Determinants, task: Task) -> None:
    """Raise `UserError` where a trial can't go on from a checkpoint exactly."""
    if trial.layout["strategy"] not in {strategy.__name__ for strategy in WHOLE_STRATEGIES}:
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


class Resumption:
    """Takes a trial's checkpoints, and finds the one that it goes on from.

    Args:
        checkpoints: Where they lie.
        trial: What determines the trial.
        fingerprints: Of its data.
        every: Seconds between two checkpoints; the first is taken before the first step.
        tell: Is told, in a line, what becomes of a checkpoint, where that is not as it should be or one was found.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        trial: Determinants,
        fingerprints: Mapping[str, str],
        every: float,
        tell: Callable[[str], None],
    ) -> None:
        self.every, self._tell = every, tell
        self._checkpoints, self._identity = checkpoints, trial.identity
        self._made_by = {
            **environment.versions(),
            **trial.plugins,
            "the source": _source(trial.pair.task_class, trial.pair.model_class),
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
        for name in {**self._made_by, **found.made_by}:
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
        self._resumption.write(checkpoint[_OWN]["step"], buffer.getvalue())

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


class Checkpointing(OptimizerSteps):
    """Takes checkpoints while a trial runs, and puts back at its first batch what Lightning does not.

    It goes before all callbacks that measure.

    Args:
        resumption: Finds and writes them.
        interruptions: A signal waits for the next place where a checkpoint can be taken, up to `GRACE_SECONDS`.
    """

    def __init__(self, resumption: Resumption, interruptions: Interruptions) -> None:
        self._resumption, self._interruptions = resumption, interruptions
        self._found: dict[str, Any] | None = None
        self._last: float | None = None
        self.resumed: list[int] = []
        """The steps that the trial went on from, in order."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask signals to wait, and refuse what can't be gone on from."""
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau and pl_module.automatic_optimization:
                raise UserError(
                    "--checkpoint-every can't keep a schedule that waits for a plateau, since the metric that it "
                    "follows is Lightning's; leave it out"
                )
        _require_torchs_generators(pl_module)
        self._interruptions.wait()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Go on from the checkpoint that was found, or take one where it is time."""
        if self._found is not None:
            self._put_back(trainer, pl_module)
        elif batch_idx % trainer.accumulate_grad_batches == 0:
            is_over = _any(trainer, self._interruptions.held is not None)
            due = self._last is None or time.monotonic() - self._last >= self._resumption.every
            if is_over or _any(trainer, due):
                trainer.save_checkpoint(self._resumption.path, weights_only=False)
                self._last = time.monotonic()
            if is_over:
                self._interruptions.obey()
                raise Interruption(signal.SIGTERM)  # another process of this trial was asked to stop
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Let a signal that has waited for too long have its way."""
        self._wait_no_longer()

    def on_validation_batch_start(self, *_: Any) -> None:
        """Let a signal that has waited for too long have its way."""
        self._wait_no_longer()

    def on_test_batch_start(self, *_: Any) -> None:
        """Let a signal that has waited for too long have its way; else the trial is about to end by itself."""
        self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if (self._interruptions.held or 0.0) > GRACE_SECONDS:
            self._interruptions.obey()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Signals need not wait any more."""
        self._interruptions.patient = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Signals need not wait any more."""
        self._interruptions.patient = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of, and leave out the batch that has just begun."""
        for name in list(checkpoint):
            if "hyper_parameters" in name or "hparams" in name:
                # The options are the trial's, and may be objects of any class.
                del checkpoint[name]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        progress["is_last_batch"] = False
        checkpoint[_OWN] = {
            "step": trainer.global_step,
            "resumed": self.resumed,
            "random": _of_all_processes(trainer, _random_state(pl_module)),
            "callbacks": _of_all_processes(trainer, checkpoint["callbacks"]),
            "steps_for_loggers": trainer.fit_loop.epoch_loop._batches_that_stepped,
            "buffers": dict(pl_module.named_buffers()),
            # For a model that adds them up over batches by itself; else they are of no more use.
            "gradients": {
                name: weight.grad for name, weight in pl_module.named_parameters() if weight.grad is not None
            },
            "attributes": {name: value for *_, name, value in _carried(pl_module)},
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until the first batch."""
        self._found = checkpoint[_OWN]
        checkpoint["callbacks"] = self._found["callbacks"][trainer.global_rank]
        self.resumed = [*self._found["resumed"], self._found["step"]]

    @torch.no_grad()
    def _put_back(self, trainer: Trainer, module: LightningModule) -> None:
        """Make all as it was when the checkpoint was taken, at this very place."""
        found, self._found = self._found, None
        assert found is not None
        trainer.fit_loop.epoch_loop._batches_that_stepped = found["steps_for_loggers"]
        for name, buffer in module.named_buffers():
            buffer.copy_(found["buffers"][name])
        for name, weight in module.named_parameters():
            if name in found["gradients"]:
                weight.grad = found["gradients"][name]
        for part, key, name, now in _carried(module):
            before = found["attributes"].get(name, now)
            if not _same(now, before):
                setattr(part, key, before)
        _restore_random_state(module, found["random"][trainer.global_rank])
        self._resumption.kept = found["step"]
        self._last = time.monotonic()


def _any(trainer: Trainer, here: bool) -> bool:
    """Whether it is so in any process of a trial on several devices."""
    return here if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(here, all=False)


def _of_all_processes(trainer: Trainer, state: dict[str, Any]) -> list[Any]:
    states: list[Any] = [state]
    if trainer.world_size > 1:
        states = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, state)
    return states


def _gradients(module: LightningModule) -> dict[str, Tensor]:
    """Those that a model may be adding up by itself; else the next step begins without any."""
    if module.automatic_optimization or getattr(module, "in_blocks", False):
        return {}
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


_LIGHTNINGS = frozenset(vars(LightningModule()))
"""Attributes that a module has of Lightning and of torch."""


def _carried(module: nn.Module) -> Iterator[tuple[nn.Module, str, str, Any]]:
    """What a model may carry from batch to batch in attributes: its part, the attribute, the full name, the value."""
    for prefix, part in module.named_modules():
        for key, value in list(vars(part).items()):
            if key not in _LIGHTNINGS and _is_plain(value):
                yield part, key, f"{prefix}.{key}", value


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(isinstance(key, str | int) and _is_plain(one) for key, one in value.items())
    if isinstance(value, Tensor):
        return type(value) is Tensor and not value.requires_grad
    return value is None or type(value) in (bool, int, float, complex, str)


def _same(one: Any, two: Any) -> bool:
    if type(one) is not type(two):
        return False
    if isinstance(one, Tensor):
        return one.dtype == two.dtype and one.device == two.device and torch.equal(one, two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    return bool(one == two)


def _generators(module: nn.Module) -> Iterator[tuple[str, torch.Generator]]:
    for prefix, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, torch.Generator):
                yield f"{prefix}.{key}", value


def _require_torchs_generators(module: nn.Module) -> None:
    for prefix, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
                raise UserError(
                    f"--checkpoint-every can't keep {type(module).__name__}'s random generator {prefix}.{key}, which "
                    "is not torch's; make it a torch.Generator, or leave --checkpoint-every out"
                )


def _random_state(module: nn.Module) -> dict[str, Any]:
    """The state of all that random numbers are drawn from, in this process."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
        "of the model": {name: generator.get_state() for name, generator in _generators(module)},
    }


def _restore_random_state(module: nn.Module, state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    for name, generator in _generators(module):
        if name in state["of the model"]:
            generator.set_state(state["of the model"][name])

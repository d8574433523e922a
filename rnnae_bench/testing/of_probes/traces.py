"""All that a probe must leave as it is, taken down while a trial runs, to be compared with one without the probe."""

import hashlib
import pickle
import sys
from dataclasses import replace
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes import OptimizerSteps, Probe
from rnnae_bench.trial.process_state import ProcessState
from rnnae_bench.trial.random_state import random_state

Moment = tuple[str, dict[str, bytes]]
"""When it was, and a digest of each thing that was looked at."""


class Trace(OptimizerSteps):
    """Takes everything down, after the probe was told of the same moment."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.probe: Probe | None = None
        """The probe of a plugin that measured, if there was one."""
        self.graphs: list[str] = []
        """Where the probe held a tensor with its graph."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take all down."""
        self._take("before the first step", trainer, pl_module)

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Take all down, and the batch."""
        self._take(f"at the beginning of step {step}", trainer, pl_module, batch)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Take all down, and the batch."""
        self._take(f"at the end of step {step}", trainer, pl_module, batch)

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take all down."""
        self._take("after the fit", trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take all down."""
        self._take(f"after the evaluation at step {trainer.global_step}", trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take all down."""
        self._take("at the end of the training", trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take all down."""
        self._take("after the test", trainer, pl_module)

    def _take(self, when: str, trainer: Trainer, module: LightningModule, batch: Any = None) -> None:
        for one in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(one, Probe) and one.added:
                self.probe = one
        if self.probe is not None and not self.graphs:
            self.graphs = _graphs_in(vars(self.probe), "self")
        weights, modules = list(module.named_parameters()), list(module.modules())
        taken = {
            "batch": None if batch is None else list(batch),
            "random numbers": _random_numbers(module),
            "modes": [one.training for one in modules],
            "process": (_process(), torch.get_num_threads()),
            "ending": (trainer.should_stop, trainer.max_steps, trainer.max_epochs),
            "gradients": [weight.grad for _, weight in weights],
            "weights": [*weights, *module.named_buffers(), *((one, weight.requires_grad) for one, weight in weights)],
            "optimiser": [
                (
                    [{key: value for key, value in group.items() if key != "params"} for group in one.param_groups],
                    list(one.state.values()),
                )
                for one in trainer.optimizers
            ],
        }
        self.moments.append((when, {name: _digest(value) for name, value in taken.items()}))


def checks_draw() -> bool:
    """Whether beartype is about, which draws from Python's random numbers as it checks types."""
    return "beartype" in sys.modules


def _random_numbers(module: LightningModule) -> dict[str, Any]:
    state = random_state(module)
    return {**state, "python": None} if checks_draw() else state


def _process() -> ProcessState:
    """Settings of the process, but for the variable by which pytest says which test it runs."""
    state = ProcessState.now()
    environment = {name: value for name, value in state.environment.items() if name != "PYTEST_CURRENT_TEST"}
    return replace(state, environment=environment)


def _digest(value: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.digest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    elif isinstance(value, dict):
        for key, one in value.items():
            _feed(digest, key)
            _feed(digest, one)
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}".encode())
        if all(type(one) is int for one in value):
            digest.update(repr(value).encode())
            return
        for one in value:
            _feed(digest, one)
    elif isinstance(value, str | bytes | int | float | None):
        digest.update(repr(value).encode())
    else:
        try:
            digest.update(pickle.dumps(value))
        except Exception:
            digest.update(type(value).__qualname__.encode())


def first_difference(one: list[Moment], other: list[Moment]) -> tuple[str, list[str]]:
    """When two traces first differ, and in what; nothing where they don't."""
    for (when, here), (_, there) in zip(one, other, strict=False):
        different = [name for name in here if here[name] != there[name]]
        if different:
            return when, different
    if len(one) != len(other):
        return f"after {min(len(one), len(other))} moments", ["ending"]
    return "", []


def _graphs_in(value: Any, where: str, depth: int = 6) -> list[str]:
    """Where tensors with a graph lie among data, and in what objects of a few levels hold."""
    if isinstance(value, Tensor):
        return [where] if value.grad_fn is not None else []
    if depth == 0 or isinstance(value, torch.nn.Module | Trainer | str | bytes | type):
        return []
    if isinstance(value, dict):
        parts = [(f"{where}.{key}" if where == "self" else f"{where}[{key!r}]", one) for key, one in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"{where}[{place}]", one) for place, one in enumerate(value)]
    elif hasattr(value, "__dict__"):
        parts = [(f"{where}.{key}", one) for key, one in vars(value).items()]
    else:
        return []
    return [found for name, one in parts for found in _graphs_in(one, name, depth - 1)][:3]

"""What a trial costs: time, memory, parameters, state."""

import resource
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.probes.base import Probe, is_lazy
from rnnae_bench.training.optimizer_steps import OptimizerSteps


class Cost(OptimizerSteps, Probe):
    """Training seconds (evaluations left out), steps a second, peak memory, sizes.

    ``peak_memory_bytes`` is the most that PyTorch had allocated on the GPU, or, on the CPU, by how much the resident
    size of the process grew at most, from the making of this probe on: the libraries, which take most of it, are loaded
    by then, the weights are not made. ``memory_kind`` says which.
    """

    subject = "cost"
    kept = ("_steps", "_seconds", "_peak_before")

    def __init__(self) -> None:
        self._started: float | None = None
        self._paused = 0.0
        self._validation_started = 0.0
        self._steps = 0
        self._seconds = 0.0
        self._seconds_before = 0.0
        self._peak_before = 0
        self._on_gpu = False
        self._measures: dict[str, Any] = {}
        _reset_resident_peak()
        self._resident_before = psutil.Process().memory_info().rss

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count parameters and reset the peak of the GPU's memory."""
        if stage != "fit":
            return
        self._count(pl_module)
        size = getattr(pl_module, "state_size", None)
        self._measures["state_size"] = None if isinstance(size, Growing) else size
        if isinstance(size, Growing):
            self._measures["state_size_per_step"] = size.per_step
        if getattr(pl_module, "has_code", False):
            self._measures["code_size"] = self._measures["state_size"]
        self._on_gpu = pl_module.device.type == "cuda"
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def _count(self, module: LightningModule) -> None:
        """Count the weights that are trained, a complex number twice, once all have a shape."""
        if not any(weight.requires_grad and is_lazy(weight) for weight in module.parameters()):
            self._measures["parameters"] = trained_numbers(module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; where the trial goes on from a checkpoint, the seconds until there are added."""
        self._started = time.perf_counter()
        self._seconds_before = self._seconds

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Keep the time and the step, so that a trial that is cut off has them too."""
        assert self._started is not None
        if "parameters" not in self._measures:
            self._count(pl_module)
        self._steps = step
        self._seconds = self._seconds_before + time.perf_counter() - self._started - self._paused

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let it run on."""
        self._paused += time.perf_counter() - self._validation_started

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the GPU to finish what is queued, then take the time and the peak."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
            self._measures["peak_memory_bytes"] = max(self._peak_before, torch.cuda.max_memory_allocated())
            self._measures["memory_kind"] = "GPU memory allocated by PyTorch"
        if self._started is not None:
            self._seconds = self._seconds_before + time.perf_counter() - self._started - self._paused

    def state_dict(self) -> dict[str, Any]:
        """The counts so far, and the peak of the memory."""
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else self._resident()
        self._peak_before = max(self._peak_before, peak)
        return super().state_dict()

    def _resident(self) -> int:
        """By how many bytes the process has grown at most."""
        return max(0, resident_peak() - self._resident_before)

    def measures(self) -> dict[str, Any]:
        """All of it, by name."""
        return {
            "steps": self._steps,
            "training_seconds": self._seconds,
            "steps_per_second": self._steps / self._seconds if self._steps else None,
            "peak_memory_bytes": max(self._peak_before, self._resident()),
            "memory_kind": "growth of the process's resident memory",
            "parameters": None,
            "state_size": None,
            **self._measures,
        }


def trained_numbers(module: nn.Module) -> int:
    """How many real numbers are trained: a complex weight has two."""
    return sum(weight.numel() * (1 + weight.is_complex()) for weight in module.parameters() if weight.requires_grad)


def resident_peak() -> int:
    """Largest resident size of this process in bytes, since the last reset where the system knows resets (Linux)."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_resident_peak() -> None:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        try:
            reset.write_text("5")
        except OSError:
            return

"""What a trial costs: time, memory, parameters, state."""

import resource
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes.base import OptimizerSteps, Probe


class Cost(OptimizerSteps, Probe):
    """Training seconds (looks at the validation set left out), steps a second, peak memory, sizes.

    ``peak_memory_bytes`` is what PyTorch had allocated on the GPU, or, on the CPU, the largest resident size of the
    whole process while the trial ran, the libraries included; ``memory_kind`` says which.
    """

    subject = "cost"

    def __init__(self) -> None:
        self._started: float | None = None
        self._paused = 0.0
        self._validation_started = 0.0
        self._steps = 0
        self._seconds = 0.0
        self._measures: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count parameters and reset the memory peaks."""
        if stage != "fit":
            return
        self._measures["parameters"] = sum(weight.numel() for weight in pl_module.parameters() if weight.requires_grad)
        self._measures["state_size"] = getattr(pl_module, "state_size", None)
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _reset_resident_peak()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Keep the time and the step, so that a trial that is cut off has them too."""
        assert self._started is not None
        self._steps = step
        self._seconds = time.perf_counter() - self._started - self._paused

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
            self._measures["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
            self._measures["memory_kind"] = "GPU memory allocated by PyTorch"
        if self._started is not None:
            self._seconds = time.perf_counter() - self._started - self._paused

    def measures(self) -> dict[str, Any]:
        """All of it, by name."""
        return {
            "steps": self._steps,
            "training_seconds": self._seconds,
            "steps_per_second": self._steps / self._seconds if self._seconds else None,
            "peak_memory_bytes": resident_peak(),
            "memory_kind": "resident memory of the process",
            "parameters": None,
            "state_size": None,
            **self._measures,
        }


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

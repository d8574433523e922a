"""What a trial may leave changed in its process, put back as it was before the next."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

_BACKEND_SWITCHES = (
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "enabled"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cuda.matmul, "allow_tf32"),
)


@dataclass(frozen=True)
class ProcessState:
    """Settings of the whole process that decide what a trial computes: torch's, numpy's, Python's, the environment."""

    default_dtype: torch.dtype
    default_device: torch.device
    gradients: bool
    anomalies: bool
    deterministic: bool
    deterministic_warns: bool
    matmul_precision: str
    backends: tuple[bool, ...]
    floating_point_errors: Any
    environment: dict[str, str]
    folder: Path

    @classmethod
    def now(cls) -> "ProcessState":
        """As it is."""
        return cls(
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.is_anomaly_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.get_float32_matmul_precision(),
            tuple(getattr(place, name) for place, name in _BACKEND_SWITCHES),
            np.geterr(),
            dict(os.environ),
            Path.cwd(),
        )

    def restore(self) -> None:
        """Make it so again."""
        torch.set_default_dtype(self.default_dtype)
        if torch.get_default_device() != self.default_device:
            torch.set_default_device(self.default_device)
        torch.set_grad_enabled(self.gradients)
        torch.autograd.set_detect_anomaly(self.anomalies)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.deterministic_warns)
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.set_flush_denormal(False)
        for (place, name), value in zip(_BACKEND_SWITCHES, self.backends, strict=True):
            setattr(place, name, value)
        np.seterr(**self.floating_point_errors)
        if dict(os.environ) != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        os.chdir(self.folder)

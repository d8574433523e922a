"""What a trial may find or leave changed in its process: as a fresh process has it, and put back as it was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

_BACKEND_SWITCHES = (
    (torch.backends.cudnn, "benchmark", False),
    (torch.backends.cudnn, "deterministic", False),
    (torch.backends.cudnn, "enabled", True),
    (torch.backends.cudnn, "allow_tf32", True),
    (torch.backends.cuda.matmul, "allow_tf32", False),
)
"""Each with its value in a fresh process."""


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
            _matmul_precision(),
            tuple(getattr(place, name) for place, name, _ in _BACKEND_SWITCHES),
            np.geterr(),
            dict(os.environ),
            Path.cwd(),
        )

    @classmethod
    def fresh(cls) -> "ProcessState":
        """As in a fresh process whose environment says nothing of it, but for the environment and the folder."""
        return cls(
            default_dtype=torch.float32,
            default_device=torch.device("cpu"),
            gradients=True,
            anomalies=False,
            deterministic=False,
            deterministic_warns=False,
            matmul_precision="highest",
            backends=tuple(value for *_, value in _BACKEND_SWITCHES),
            floating_point_errors={"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
            environment=dict(os.environ),
            folder=Path.cwd(),
        )

    def restore(self) -> None:
        """Make it so again."""
        torch.set_default_dtype(self.default_dtype)
        if torch.get_default_device() != self.default_device:
            torch.set_default_device(self.default_device)
        torch.set_grad_enabled(self.gradients)
        torch.autograd.set_detect_anomaly(self.anomalies)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.deterministic_warns)
        if hasattr(torch.backends, "fp32_precision"):
            torch.backends.fp32_precision = "none"
        torch.set_flush_denormal(False)
        for (place, name, _), value in zip(_BACKEND_SWITCHES, self.backends, strict=True):
            setattr(place, name, value)
        # Last: a backend's switch changes it.
        torch.set_float32_matmul_precision(self.matmul_precision)
        np.seterr(**self.floating_point_errors)
        if dict(os.environ) != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        os.chdir(self.folder)


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set by backend, in words that this can't say.
        return "highest"


@contextmanager
def fresh_process(environment: bool = True) -> Iterator[None]:
    """Within, torch and numpy compute as in a fresh process, whatever a plugin or an earlier trial has set.

    Args:
        environment: Whether what is changed in the environment within is undone too.
    """
    before = ProcessState.now()
    ProcessState.fresh().restore()
    try:
        yield
    finally:
        if not environment:
            before = replace(before, environment=dict(os.environ))
        before.restore()

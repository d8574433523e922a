"""What a model's own ``configure_optimizers`` may return, where Lightning does the optimiser steps."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


def objection_to_optimizers(found: Any, automatic: bool) -> str | None:
    """Why a training with these optimisers and schedules would fail at its first step, or only later; None if not.

    Args:
        found: What ``configure_optimizers`` returned, in any of the forms that Lightning documents.
        automatic: Whether Lightning does the steps.
    """
    if not automatic:
        return None
    parts = list(_parts(found))
    count = sum(isinstance(one, Optimizer) for one, _ in parts)
    if count > 1:
        return (
            f"returns {count} optimisers, and Lightning steps one; set self.automatic_optimization = False in __init__ "
            "and step them in training_step (self.optimizers(), self.manual_backward)"
        )
    if any(isinstance(one, ReduceLROnPlateau) and monitor is None for one, monitor in parts):
        return (
            "returns a ReduceLROnPlateau without the metric that it goes by; return it as {'optimizer': ..., "
            "'lr_scheduler': {'scheduler': ..., 'monitor': NAME}} and self.log(NAME, ...) in validation_step"
        )
    return None


def _parts(found: Any, monitor: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every optimiser and schedule, with the name of the metric that it goes by."""
    if isinstance(found, Mapping):
        mine = found.get("monitor", monitor)
        for name in ("optimizer", "lr_scheduler", "scheduler"):
            if name in found:
                yield from _parts(found[name], mine)
    elif isinstance(found, list | tuple):
        for one in found:
            yield from _parts(one, monitor)
    else:
        yield found, monitor

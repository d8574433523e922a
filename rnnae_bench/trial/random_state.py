"""The states of all that a trial draws random numbers from: torch, numpy, Python, and generators of a model's own."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnae_bench.errors import UserError


def require_torchs_generators(module: nn.Module) -> None:
    """Raise `UserError` where a model has a random generator whose state a checkpoint can't hold."""
    for prefix, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
                raise UserError(
                    f"--checkpoint-every can't keep {type(module).__name__}'s random generator {prefix}.{key}, which "
                    "is not torch's; make it a torch.Generator, or leave --checkpoint-every out"
                )


def random_state(module: nn.Module) -> dict[str, Any]:
    """The state of all that random numbers are drawn from, in this process."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
        "of the model": {name: generator.get_state() for name, generator in _generators(module)},
    }


def restore_random_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Have this process draw on from what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    for name, generator in _generators(module):
        if name in state["of the model"]:
            generator.set_state(state["of the model"][name])


def _generators(module: nn.Module) -> Iterator[tuple[str, torch.Generator]]:
    for prefix, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, torch.Generator):
                yield f"{prefix}.{key}", value

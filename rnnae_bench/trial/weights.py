"""The weights of a trained model as safetensors: tensors by name, and nothing that runs code when it is read."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

_COMPLEX = "complex"
"""In the file's metadata: the names of the weights that are complex, which stand there as pairs of real numbers."""


def encode(weights: Mapping[str, Any]) -> bytes:
    """Weights by name, as from a module's ``state_dict``, as the bytes of a safetensors file.

    Raises:
        ValueError: one of them is no tensor, or of a kind that safetensors has no form for.
    """
    real: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if not isinstance(weight, Tensor) or weight.is_sparse:
            raise ValueError(f"{name} is no dense tensor")
        # A copy each, since safetensors takes none that share their memory.
        real[name] = (torch.view_as_real(weight) if weight.is_complex() else weight).detach().cpu().clone().contiguous()
    names = [name for name, weight in weights.items() if weight.is_complex()]
    try:
        return save(real, {_COMPLEX: json.dumps(names)})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"safetensors has no form for {error}") from error


def decode(content: bytes) -> dict[str, Tensor]:
    """The weights that `encode` wrote, on the CPU.

    Raises:
        ValueError: it is no such file.
    """
    try:
        found = load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
        names = json.loads(metadata.get(_COMPLEX, "[]"))
        return {**found, **{name: torch.view_as_complex(found[name]) for name in names}}
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"no weights that were written here ({error})") from error

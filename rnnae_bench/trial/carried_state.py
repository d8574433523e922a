"""What a model carries from batch to batch in plain attributes: counts, averages, states."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

_LIGHTNINGS = frozenset(vars(LightningModule()))
"""Attributes that a module has of Lightning and of torch."""


def carried(module: nn.Module) -> Iterator[tuple[nn.Module, str, str, Any]]:
    """Each such attribute: the part of the module that has it, the attribute, its full name, the value."""
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


def same(one: Any, two: Any) -> bool:
    """Whether two such values are equal, of the same types and on the same devices."""
    if type(one) is not type(two):
        return False
    if isinstance(one, Tensor):
        return one.dtype == two.dtype and one.device == two.device and torch.equal(one, two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(one == two)

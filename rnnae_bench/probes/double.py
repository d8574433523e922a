"""A model in double precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def in_double(model: nn.Module) -> nn.Module:
    """The same model, its real numbers now float64 and its complex ones complex128, which `double` leaves alone."""

    def double(one: Tensor) -> Tensor:
        return one.to(torch.complex128) if one.is_complex() else one.double() if one.is_floating_point() else one

    return model._apply(double)


@contextmanager
def double_by_default() -> Iterator[None]:
    """Within, a tensor that is made without a format is float64 (or complex128)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

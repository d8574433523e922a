"""A model run for a measurement in the middle of its training, without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in evaluation mode, and nothing that it does lasts.

    Random numbers (Python's, numpy's and PyTorch's), buffers, and what modules keep in their attributes (a state that
    is carried over to the next batch, say) are afterwards what they were before. A list or a dictionary that is changed
    in place stays changed.
    """
    training = [one for one in module.modules() if one.training]
    devices = {weight.device for weight in module.parameters() if weight.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), isolate_rng(include_cuda=False), _kept(module):
        for one in training:
            one.training = False
        try:
            yield
        finally:
            for one in training:
                one.training = True


@contextmanager
def _kept(module: nn.Module) -> Iterator[None]:
    before = [(one, dict(vars(one)), dict(one._buffers)) for one in module.modules()]
    held: list[Any] = [value for _, own, buffers in before for value in (*buffers.values(), *own.values())]
    # A tensor with a graph is nobody's storage, and touching it would break the graph.
    copies = [(value, value.clone()) for value in held if isinstance(value, Tensor) and value.grad_fn is None]
    try:
        yield
    finally:
        for one, own, buffers in before:
            for name in vars(one).keys() - own.keys():
                del vars(one)[name]
            vars(one).update(own)
            one._buffers.clear()
            one._buffers.update(buffers)
        with torch.no_grad():
            for value, copy in copies:
                value.copy_(copy)

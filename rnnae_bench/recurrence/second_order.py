"""Gradients that can be differentiated again: what a kernel's backward pass gives under ``create_graph=True``."""

import torch
from jaxtyping import Bool
from torch import Tensor


def differentiable_gradients(
    outputs: tuple[Tensor, ...],
    needs: tuple[bool, ...],
    inputs: tuple[Tensor | None, ...],
    directs: tuple[Tensor | None, ...],
    padding: Bool[Tensor, "*model time batch 1"] | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the outputs with respect to those inputs that need one, as a graph; None for the others.

    The outputs come from the reference, computed again from the inputs that the kernel was given; slow, and right. In
    the padding they count as zero, as the kernel's are.
    """
    if padding is not None:
        outputs = tuple(output.masked_fill(padding, 0.0) for output in outputs)
    wanted = [one for one, needed in zip(inputs, needs, strict=False) if one is not None and needed]
    known = [(output, direct) for output, direct in zip(outputs, directs, strict=True) if direct is not None]
    found = iter(
        torch.autograd.grad(
            [output for output, _ in known],
            wanted,
            [direct for _, direct in known],
            create_graph=True,
            materialize_grads=True,
        )
    )
    return tuple(next(found) if needed else None for _, needed in zip(inputs, needs, strict=False))

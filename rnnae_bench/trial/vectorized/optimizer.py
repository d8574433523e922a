"""Adam and clipping for K models at once, each with its own learning rate and its own norm."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.training.clipping import Norms, together, within_range


class VectorizedAdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as ``torch.optim.AdamW``, for K models.

    All weights move into one buffer ``[K weights]``, of which they become views, and so do their gradients: a step is
    a handful of operations, however many weights and models there are.

    Args:
        weights: Each ``[K ...]``.
        learning_rates: Of each model; the ``lr`` of the only parameter group is a share of these.
        weight_decay: As for ``torch.optim.AdamW``.
        betas: As for ``torch.optim.AdamW``.
        eps: As for ``torch.optim.AdamW``.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        learning_rates: Sequence[float],
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(weights, {"lr": 1.0})
        self.learning_rates = list(learning_rates)
        self._decay, self._betas, self._eps = weight_decay, betas, eps
        like = weights[0]
        self._buffer = torch.cat([weight.detach().flatten(1) for weight in weights], dim=1)
        self.gradient: Float[Tensor, "models weights"] = torch.zeros_like(self._buffer)
        """Of all weights, once `collect` was called; their own ``grad`` are then views of it."""
        self._first_moment = torch.zeros_like(self._buffer)
        self._second_moment = torch.zeros_like(self._buffer)
        self._rates = torch.tensor(self.learning_rates, dtype=like.dtype, device=like.device).unsqueeze(1)
        self._steps = 0
        self.gradients: list[Float[Tensor, "models size"]] = []
        """Of each weight; views of `gradient`."""
        self._weights, self._views = list(weights), list[Tensor]()
        start = 0
        for weight in weights:
            stop = start + weight[0].numel()
            self.gradients.append(self.gradient[:, start:stop])
            self._views.append(self.gradients[-1].view(weight.shape))
            weight.data = self._buffer[:, start:stop].view(weight.shape)
            start = stop

    def collect(self) -> None:
        """Move the gradients that backpropagation left into `gradient`, zero where it left none."""
        left = [weight.grad for weight in self._weights]
        if left[0] is self._views[0]:
            return
        rows = [
            torch.zeros_like(mine) if found is None else found.flatten(1)
            for found, mine in zip(left, self.gradients, strict=True)
        ]
        torch.cat(rows, dim=1, out=self.gradient)
        for weight, view in zip(self._weights, self._views, strict=True):
            weight.grad = view

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every model."""
        loss = None if closure is None else closure()
        self.collect()
        self._steps += 1
        share: float = self.param_groups[0]["lr"]
        one, two = self._betas
        rates = self._rates * share
        if self._decay:
            self._buffer.mul_(1 - rates * self._decay)
        self._first_moment.lerp_(self.gradient, 1 - one)
        self._second_moment.mul_(two).addcmul_(self.gradient, self.gradient, value=1 - two)
        root = self._second_moment.sqrt().mul_(1 / (1 - two**self._steps) ** 0.5).add_(self._eps)
        update = torch.div(self._first_moment, root, out=root)
        self._buffer.addcmul_(update, rates, value=-1 / (1 - one**self._steps))
        return loss

    @torch.no_grad()
    def freeze(self, model: int) -> None:
        """Take a model out: its weights become zero, and stay so while its gradients are zero."""
        for one in (self._buffer, self.gradient, self._first_moment, self._second_moment):
            one[model] = 0.0


class VectorizedClipping:
    """Clips the gradients of each of K models by itself, as `training.clipping.Clipping` does, and keeps the norms.

    Args:
        largest: As for `rnnae_bench.training.clipping.clip`.
        by: As for `rnnae_bench.training.clipping.clip`.
    """

    def __init__(self, largest: float, by: Literal["norm", "value"]) -> None:
        self.largest: float = largest
        self.by: Literal["norm", "value"] = by
        self.norms: Norms | None = None
        """Of the last clipping: before ``[K weights]``, after ``[K]``."""

    @torch.no_grad()
    def __call__(self, optimizer: Any) -> None:
        """Clip the gradients of a `VectorizedAdamW`."""
        optimizer.collect()
        gradient: Tensor = optimizer.gradient
        before, format = _norms(optimizer.gradients), gradient.dtype
        after = together(before, format)
        if self.largest and self.by == "value":
            gradient.clamp_(-self.largest, self.largest)
            after = together(_norms(optimizer.gradients), format)
        elif self.largest:
            factor = (self.largest / (after + 1e-6)).clamp(max=1.0)
            gradient.mul_(factor.to(format).unsqueeze(1))
            after = after * factor
        self.norms = Norms(before, after)


def _norms(gradients: Sequence[Tensor]) -> Float[Tensor, "models weights"]:
    careful = partial(_stacked, gradients, torch.float64)
    return within_range(_stacked(gradients), gradients[0].dtype, careful) if gradients[0].is_cpu else careful()


def _stacked(gradients: Sequence[Tensor], dtype: torch.dtype | None = None) -> Float[Tensor, "models weights"]:
    return torch.stack([torch.linalg.vector_norm(one, dim=1, dtype=dtype) for one in gradients], dim=1)

"""K models of one shape as one module, whose weights, inputs and losses have a leading model axis while they train."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.heads import Head, last_state
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Batch
from rnnae_bench.models.recurrent import GRU, LSTM, RNN
from rnnae_bench.recurrence.stack import Stack
from rnnae_bench.trial.vectorized.optimizer import VectorizedAdamW, VectorizedClipping
from rnnae_bench.trial.vectorized.task import VectorizedTask

Recurrent = RNN | LSTM | GRU
"""The models that can be trained as one."""


class _Affine(nn.Module):
    """K affine maps: ``[K *axes features]`` to ``[K *axes size]``."""

    def __init__(self, one: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = one.weight, one.bias

    def forward(self, states: Float[Tensor, "models *axes features"]) -> Float[Tensor, "models *axes size"]:
        rows = states.flatten(1, -2)
        product = torch.baddbmm(self.bias.unsqueeze(-2), rows, self.weight.mT)
        return product.unflatten(1, states.shape[1:-1])


class VectorizedModule(BenchModule):
    """K recurrent models that share their hyper-parameters, but for the learning rate.

    Weights have the names that they have in one of the models, and an axis K in front. The models train as one and are
    evaluated one by one, each as the trial alone would be: a task's `predict` may ask its model for anything.

    Args:
        models: Each as the trial alone would build it.
    """

    _alive: Tensor

    def __init__(self, models: Sequence[Recurrent]) -> None:
        first = models[0]
        super().__init__(first.spec, first.optimization)
        self.bidirectional = first.bidirectional
        self.learning_rates = [model.optimization.learning_rate for model in models]
        self.loss_shape = (len(models),)
        self.living = list(range(len(models)))
        """The members that still learn."""
        self._state_size = first.state_size
        self.embedding = copy.deepcopy(first.embedding)
        self.head: Head = copy.deepcopy(first.head)
        self.recurrence: Stack = copy.deepcopy(first.recurrence)
        self.head.affine = _Affine(self.head.affine)  # type: ignore[assignment]
        self.recurrence.models = len(models)
        every = [dict(model.named_parameters()) for model in models]
        for name, weight in self.named_parameters():
            weight.data = torch.stack([weights[name].detach() for weights in every])
        self._clipping: Any = VectorizedClipping(first.optimization.clip, first.optimization.clip_by)
        # In a tuple, so that their weights are not this module's too.
        self._models = tuple(model.eval() for model in models)
        self.register_buffer("_alive", torch.ones(len(models)), persistent=False)

    @property
    def state_size(self) -> int:
        """Numbers that each of the models carries from one step to the next."""
        return self._state_size

    def forward(self, inputs: Tensor, lengths: Int[Tensor, "models batch"] | None = None) -> Tensor:
        """The predictions ``[K batch ...]`` for inputs ``[K batch ...]``."""
        states = self.recurrence(self.embedding(inputs), lengths)[0]
        if self.spec.predicts == "last step":
            states = last_state(states, lengths, self.bidirectional)
        return self.head(states)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[int, Tensor]:  # type: ignore[override]
        """The prediction of every member that still learns, by its number; the batch has no model axis."""
        return self._predictions(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[int, Tensor]:  # type: ignore[override]
        """The prediction of every member that still learns, by its number; the batch has no model axis."""
        return self._predictions(batch)

    def _predictions(self, batch: Batch) -> dict[int, Tensor]:
        task = self.task
        assert isinstance(task, VectorizedTask)
        return {member: task.tasks[member].predict(self.model(member), batch) for member in self.living}

    def model(self, member: int) -> Recurrent:
        """One of the models by itself; its weights are views of this module's."""
        model = self._models[member]
        # A task may differentiate at evaluation, which weights made in inference mode would not allow.
        with torch.inference_mode(False):
            model.to(self.device, self.dtype)
            mine = dict(model.named_parameters())
            for name, weight in self.named_parameters():
                mine[name].data = weight.data[member]
        return model

    def _optimization(self) -> tuple[Callable[[Tensor], Any], Callable[[], Any]]:
        backward, step = super()._optimization()
        # The models share nothing, so that the sum's gradient is each one's own.
        return lambda losses: backward((losses * self._alive).sum()), step

    def configure_optimizers(self) -> Any:
        """Adam under the schedule of `optimization`, each model at its own peak rate."""
        steps = self.trainer.max_steps
        decay = self.optimization.weight_decay
        optimizer = VectorizedAdamW(list(self.parameters()), self.learning_rates, decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimization.rate(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def freeze_member(self, member: int) -> None:
        """Have one of the models learn no more."""
        self.living.remove(member)
        self._alive[member] = 0.0
        optimizer: Any = self.optimizers()
        optimizer.optimizer.freeze(member)

"""K models of one shape as one module, whose weights, inputs and losses have a leading model axis while they train."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.task import Batch
from rnnae_bench.training.stacking import FunctionalStack
from rnnae_bench.trial.vectorized.optimizer import VectorizedAdamW, VectorizedClipping
from rnnae_bench.trial.vectorized.task import VectorizedTask


class VectorizedModule(BenchModule):
    """K models that share their hyper-parameters, but for the learning rate.

    Weights have the names that they have in one of the models, and an axis K in front. The models train as one and are
    evaluated one by one, each as the trial alone would be: a task's `predict` may ask its model for anything.

    Args:
        models: Each as the trial alone would build it.
    """

    _alive: Tensor

    def __init__(self, models: Sequence[BenchModule]) -> None:
        first = models[0]
        super().__init__(first.spec, first.optimization)
        self.learning_rates = [model.optimization.learning_rate for model in models]
        self.loss_shape = (len(models),)
        self.living = list(range(len(models)))
        """The members that still learn."""
        self._state_size, self.has_code = first.state_size, first.has_code
        stack = type(first).stack(models)
        for name, child in stack.named_children():
            self.add_module(name, child)
        for name, weight in stack.named_parameters(recurse=False):
            self.register_parameter(name, weight)
        self.has_model_axis = not isinstance(stack, FunctionalStack)
        """Whether the states of all models are there, with an axis K in front."""
        # In a tuple, so that the weights are this module's, under the names that they have in one of the models.
        self._stack = (stack,)
        self._clipping: Any = VectorizedClipping(first.optimization.clip, first.optimization.clip_by)
        self._models = tuple(model.eval() for model in models)
        self.register_buffer("_alive", torch.ones(len(models)), persistent=False)

    @property
    def state_size(self) -> int | Growing | None:
        """Numbers that each of the models carries from one step to the next."""
        return self._state_size

    def forward(self, inputs: Tensor, lengths: Int[Tensor, "models batch"] | None = None) -> Tensor:
        """The predictions ``[K batch ...]`` for inputs ``[K batch ...]``."""
        prediction: Tensor = self._stack[0](inputs, lengths)
        return prediction

    def train(self, mode: bool = True) -> "VectorizedModule":
        """Set whether the models are in training."""
        super().train(mode)
        for stack in getattr(self, "_stack", ()):
            stack.train(mode)
        return self

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

    def model(self, member: int) -> BenchModule:
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

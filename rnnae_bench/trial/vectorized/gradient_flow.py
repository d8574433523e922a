"""The gradient flow of all members of a vectorized trial: in one pass, or each in its own."""

from operator import itemgetter
from typing import Any

from jaxtyping import Float
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.task import Batch
from rnnae_bench.probes import GradientFlow
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.trial.vectorized.by_member import living
from rnnae_bench.trial.vectorized.module import VectorizedModule
from rnnae_bench.trial.vectorized.task import VectorizedTask


class MemberGradientFlow(GradientFlow):
    """`GradientFlow` of one member, whose forward pass the training does not do by itself."""

    def profile(self, trainer: Trainer, module: LightningModule, step: int, batch: Batch) -> None:
        """Take both readings at an optimiser step, before it is done.

        Args:
            trainer: Of all members.
            module: The member.
            step: From 1.
            batch: What it learns from in this step.
        """
        self.on_optimizer_step_start(trainer, module, step, batch)
        if self._watch is not None:
            with self.measuring("gradient_flow/training_loss"):
                with trainer.precision_plugin.train_step_context():
                    prediction = training_prediction(module, batch, self.task.spec)
                    self._watch.differentiate(self.task.total_loss(prediction, batch))
                self.on_optimizer_step(trainer, module, step, None, batch)


class VectorizedGradientFlow(GradientFlow):
    """`GradientFlow` on the last scored step's loss of every member.

    Models that are one through ``torch.func`` have no states ``[K ...]`` to be read; there the profiles of each are
    taken by a pass of its own.

    Args:
        task: The members' task.
    """

    def __init__(self, task: VectorizedTask) -> None:
        super().__init__(task)
        self.members = [MemberGradientFlow(own) for own in task.tasks]
        self._one_by_one = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the fixed batch."""
        assert isinstance(pl_module, VectorizedModule)
        self._one_by_one = not pl_module.has_model_axis
        if not self._one_by_one:
            super().on_train_start(trainer, pl_module)
            return
        for one in self.members:
            one.on_train_start(trainer, pl_module)

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Read the last step's loss, and watch the training's own forward and backward pass."""
        if not self._one_by_one:
            super().on_optimizer_step_start(trainer, pl_module, step, batch)
        elif step in self.steps:
            assert isinstance(pl_module, VectorizedModule)
            for member, one in living(self.members, pl_module):
                model = pl_module.model(member).train()
                one.profile(trainer, model, step, batch.map(itemgetter(member)))
                model.eval()

    def of_member(self, member: int) -> GradientFlow:
        """What was measured of one member."""
        return self.members[member] if self._one_by_one else super().of_member(member)

    def _last_step_loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        task = self.task
        assert isinstance(task, VectorizedTask)
        losses = task.each(lambda answer, own: last_step_loss(task.first, answer, own), prediction, batch)
        assert isinstance(losses, Tensor)
        return losses.sum()

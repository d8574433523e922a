"""The base classes of models: LightningModules made from a task's spec and their own hyper-parameters."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from lightning import Callback, LightningModule
from lightning.pytorch.plugins import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from rnnae_bench.contracts.heads import Embedding, Head, last_state
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import require_choice, require_fraction, require_not_negative, require_positive
from rnnae_bench.training.clipping import Clipping, Norms


@dataclass(frozen=True)
class Optimization:
    """How a model is trained: Adam with decoupled weight decay, warm-up, decay and clipping.

    Args:
        learning_rate: Peak learning rate.
        warmup: Share of the steps in which the rate rises linearly from 0 to its peak.
        decay: How it falls from there to 0 at the last step: along a half cosine, or not at all.
        weight_decay: Decoupled weight decay (Loshchilov & Hutter 2019), times the learning rate each step.
        clip: The largest gradient allowed; 0 switches clipping off.
        clip_by: Clip the global 2-norm (Pascanu et al. 2013) or every component's absolute value.
    """

    learning_rate: Annotated[float, Range(1e-4, 3e-2, log=True)] = 3e-3
    warmup: float = 0.3
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    clip_by: Literal["norm", "value"] = "norm"

    def __post_init__(self) -> None:
        require_positive(learning_rate=self.learning_rate)
        require_fraction(warmup=self.warmup)
        require_not_negative(weight_decay=self.weight_decay, clip=self.clip)
        require_choice(("cosine", "none"), decay=self.decay)
        require_choice(("norm", "value"), clip_by=self.clip_by)

    def rate(self, step: int, max_steps: int) -> float:
        """Share of the peak learning rate at an optimiser step (from 0).

        >>> schedule = Optimization(warmup=0.5)
        >>> [round(schedule.rate(step, 8), 3) for step in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        rising = round(self.warmup * max_steps)
        if step < rising:
            return (step + 1) / rising
        if self.decay == "none":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, max_steps - rising)))


WHOLE_STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
"""Strategies under which every process holds all weights and all gradients; not their subclasses."""

_PER_BATCH_HOOKS = (
    "training_step",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "configure_optimizers",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_optimizer_step",
    "optimizer_step",
    "lr_scheduler_step",
)
"""What Lightning calls by batches or by epochs; a model with one of these of its own is given one batch a call."""

_OPTIMIZATION = ("pre_backward", "backward", "post_backward", "optimizer_step")
_BACKWARD_HOOKS = ("on_before_backward", "on_after_backward")


def _inherits(instance: object, base: type, name: str) -> bool:
    """Whether a method of an instance is the one of its base class."""
    return getattr(getattr(instance, name), "__func__", None) is getattr(base, name)


class BenchModule(LightningModule, ABC):
    """A model of the suite: `forward` gives the prediction, the task gives the loss.

    Two ways lead through the training, to the same weights. Lightning's own: `training_step` is called for each batch
    and Lightning does the optimiser step. Or in blocks, where a trial asks for it: `training_step` is called with a
    list of batches and does an optimiser step for each, so that what a call costs in Lightning is paid once a block.
    On both, callbacks that have these methods are told of every optimiser step, counted from 1:

    - ``on_optimizer_step_start(trainer, module, step, batch)``: the forward pass comes next;
    - ``on_optimizer_step(trainer, module, step, loss, batch)``: it is done; the gradients still stand, as they were
      clipped. `loss` is detached.

    (Lightning's way has them from `rnnae_bench.probes.OptimizerSteps`.)

    Args:
        spec: The task to serve.
        optimization: How to train.
    """

    def __init__(self, spec: TaskSpec, optimization: Optimization) -> None:
        super().__init__()
        self.spec = spec
        self.optimization = optimization
        self.in_blocks = False
        self._clipping = Clipping(optimization.clip, optimization.clip_by)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Why this model, with these hyper-parameters, can't serve the spec; None where it can."""
        return None

    @property
    def state_size(self) -> int | None:
        """Numbers the model carries from the input to the output: recurrent state, or code. None: it is not said."""
        return None

    @property
    def task(self) -> Task:
        """The task being trained on."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @abstractmethod
    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """The prediction for a batch of inputs."""

    def training_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """What is minimised: the task's loss of the prediction. A model with a loss of its own overrides this."""
        return self.task.loss(self(batch.inputs, batch.lengths), batch)

    @classmethod
    def can_train_in_blocks(cls) -> bool:
        """Whether the class leaves to this one all that Lightning calls once a batch."""
        return all(getattr(cls, hook) is getattr(BenchModule, hook) for hook in _PER_BATCH_HOOKS)

    def train_in_blocks(self) -> None:
        """Take a list of batches a call from now on, and do the optimiser steps here."""
        self.in_blocks = True
        self.automatic_optimization = False

    def training_step(self, batch: Batch | list[Batch], batch_idx: int) -> Float[Tensor, ""] | None:
        """The training loss of a batch, for Lightning to go on with; or all optimiser steps of a block of batches."""
        if isinstance(batch, Batch):
            return self.training_loss(batch)
        self._train_block(batch)
        return None

    def _train_block(self, block: list[Batch]) -> None:
        trainer: Any = self.trainer
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        start = [each.on_optimizer_step_start for each in trainer.callbacks if hasattr(each, "on_optimizer_step_start")]
        done = [each.on_optimizer_step for each in trainer.callbacks if hasattr(each, "on_optimizer_step")]
        backward, optimizer_step = self._optimization()
        # Several processes must stop at the same step; Lightning sees to it between blocks.
        may_stop = trainer.world_size == 1
        step = trainer.global_step
        # Lightning's precision plugin has the whole block autocast, and it is meant for the forward pass alone.
        with torch.autocast(self.device.type, enabled=False):
            for batch in block:
                if may_stop and trainer.received_sigterm:
                    raise SIGTERMException
                step += 1
                for tell in start:
                    tell(trainer, self, step, batch)
                with trainer.precision_plugin.train_step_context():
                    loss = self.training_loss(batch)
                optimizer.zero_grad()
                backward(loss)
                optimizer_step()
                schedule.step()
                loss = loss.detach()
                for tell in done:
                    tell(trainer, self, step, loss, batch)

    def _optimization(self) -> tuple[Callable[[Tensor], Any], Callable[[], Any]]:
        """How to backpropagate, and how to do the optimiser step: Lightning's ways, or short cuts to the same.

        Lightning calls three hooks of every callback through its profiler, 0.2 ms a step. On one device, without
        gradient scaling or a profiler, it is enough to call those that are somebody's own.
        """
        trainer: Any = self.trainer
        optimizer: Any = self.optimizers()
        precision = trainer.precision_plugin
        adds_nothing = (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.profiler) is PassThroughProfiler
            and all(_inherits(precision, Precision, name) for name in _OPTIMIZATION)
            and all(_inherits(self, LightningModule, name) for name in ("backward", *_BACKWARD_HOOKS))
            and all(_inherits(each, Callback, name) for each in trainer.callbacks for name in _BACKWARD_HOOKS)
        )
        if not adds_nothing:
            return self.manual_backward, optimizer.step
        wrapped = optimizer.optimizer
        hooks = [
            each.on_before_optimizer_step
            for each in trainer.callbacks
            if not _inherits(each, Callback, "on_before_optimizer_step")
        ]

        def step() -> None:
            # These two keep Lightning's count of the steps.
            optimizer._on_before_step()
            for hook in hooks:
                hook(trainer, self, wrapped)
            self.on_before_optimizer_step(wrapped)
            wrapped.step()
            optimizer._on_after_step()

        return Tensor.backward, step

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """In blocks, clip here, as Lightning itself does after this hook: unscaled, and seen by the callbacks."""
        if self.in_blocks:
            self.configure_gradient_clipping(optimizer, None, None)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The prediction; the runner scores it."""
        return self.task.predict(self, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The prediction; the runner scores it."""
        return self.task.predict(self, batch)

    def configure_optimizers(self) -> Any:
        """Adam under the schedule of `optimization`, over the trainer's whole budget."""
        steps = self.trainer.max_steps
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.optimization.learning_rate,
            weight_decay=self.optimization.weight_decay,
            # Under automatic mixed precision Lightning won't clip for an optimiser that could unscale by itself.
            fused="mixed" not in str(self.trainer.precision),
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimization.rate(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as `optimization` says and keep the norms, unless the trainer was told otherwise."""
        if gradient_clip_val is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif self.measures_gradient_norms:
            self._clipping(optimizer)
        else:
            self.clip_gradients(optimizer, self.optimization.clip or None, self.optimization.clip_by)

    @property
    def measures_gradient_norms(self) -> bool:
        """Whether every clipping leaves its norms in `gradient_norms`."""
        trainer: Any = self.trainer
        own = type(self).configure_gradient_clipping is BenchModule.configure_gradient_clipping
        return own and trainer.gradient_clip_val is None and type(trainer.strategy) in WHOLE_STRATEGIES

    @property
    def gradient_norms(self) -> Norms:
        """What the last clipping found and left, weights in the order of the optimiser."""
        assert self._clipping.norms is not None
        return self._clipping.norms


class SequenceModel(BenchModule):
    """A model that has a state at every step. Subclasses give `states`; embedding and head come with the spec.

    Args:
        spec: The task to serve.
        features: Size of the state vector that `states` returns at each step.
        optimization: How to train.
        bidirectional: Whether the second half of each state was computed from the end of the sequence.
    """

    def __init__(self, spec: TaskSpec, features: int, optimization: Optimization, bidirectional: bool = False) -> None:
        super().__init__(spec, optimization)
        self.bidirectional = bidirectional
        self.embedding = Embedding(spec)
        self.head = Head(spec, features)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses a bidirectional model where the future must not be seen, and images as single answers."""
        if hyperparameters.get("bidirectional") and spec.causal:
            return "the task is causal: a bidirectional model would read the future"
        if isinstance(spec.outputs, Images) and spec.outputs.height != spec.sequence.length:
            return (
                f"it answers one row per step read, {spec.sequence.length} in all, "
                f"and the task wants {spec.outputs.height}"
            )
        return None

    @abstractmethod
    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The state at every step of the embedded inputs."""

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """Embed, run over time, and read the prediction off the states the task asks for."""
        states = self.states(self.embedding(inputs), lengths)
        if self.spec.predicts == "last step":
            states = last_state(states, lengths, self.bidirectional)
        return self.head(states)


class Autoencoder(BenchModule):
    """A model that squeezes an image through a code. Subclasses give `encode` and `decode`."""

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Images in, images of the same shape out."""
        if not isinstance(spec.inputs, Images) or spec.inputs != spec.outputs:
            return f"an autoencoder reconstructs images, and the task asks for {spec.outputs}"
        return None

    @abstractmethod
    def encode(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch code"]:
        """The code of each image."""

    @abstractmethod
    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch channel height width"]:
        """The image of each code, pixels in [0, 1]."""

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(inputs))

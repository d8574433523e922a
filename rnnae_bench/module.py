"""The base classes of models: LightningModules made from a task's spec and their own hyper-parameters."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from lightning import LightningModule
from torch import Tensor

from rnnae_bench.errors import require_choice, require_fraction, require_not_negative, require_positive
from rnnae_bench.heads import Embedding, Head, last_state
from rnnae_bench.spec import Images, TaskSpec
from rnnae_bench.task import Batch, Task


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

    learning_rate: float = 3e-3
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


class BenchModule(LightningModule, ABC):
    """A model of the suite: `forward` gives the prediction, the task gives the loss.

    Args:
        spec: The task to serve.
        optimization: How to train.
    """

    def __init__(self, spec: TaskSpec, optimization: Optimization) -> None:
        super().__init__()
        self.spec = spec
        self.optimization = optimization

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Why this model, with these hyper-parameters, can't serve the spec; None where it can."""
        return None

    @property
    def state_size(self) -> int:
        """Numbers the model carries from the input to the output: recurrent state, or code."""
        return 0

    @property
    def task(self) -> Task:
        """The task being trained on."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @abstractmethod
    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """The prediction for a batch of inputs."""

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The task's loss of the prediction."""
        return self.task.loss(self(batch.inputs, batch.lengths), batch)

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
        """Clip as `optimization` says, unless the trainer was told otherwise."""
        if gradient_clip_val is None:
            gradient_clip_val = self.optimization.clip or None
            gradient_clip_algorithm = self.optimization.clip_by
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)


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

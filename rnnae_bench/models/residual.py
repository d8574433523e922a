"""A stack of layers that each add to what passes them: the frame around recurrences that are linear in their state.

A layer l mixes information over time and adds it to its input, then does so step by step:

    u_t = x_t + mix_l(norm(x))_t,    y_t = u_t + W_2 gelu(W_1 norm(u_t) + b_1) + b_2,

the second only where `feedforward` is not 0. Before the first layer stands an affine map, after the last a norm. `norm`
is that of a layer (Ba, Kiros & Hinton 2016), in front of what it feeds (Xiong et al. 2020).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.stepping import State, brought_to
from rnnae_bench.errors import require_fraction, require_not_negative, require_positive


class Mixer(nn.Module, ABC):
    """What carries information from step to step in one layer, in two forms that agree."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """The state before the first step, by name; the batch is axis 0."""

    @abstractmethod
    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """One step: what is added to the inputs, and the state after it."""

    @abstractmethod
    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """All steps at once, and the state after the last."""


class ResidualModel(SequenceModel):
    """A stack of mixers, which subclasses make.

    Args:
        spec: The task to serve.
        mixer: Makes the mixer of a layer.
        hidden_size: Features between the layers.
        layers: How many.
        feedforward: Units of the layer between two mixers, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each part adds that is zeroed while training.
        optimization: How to train.
    """

    @abstractmethod
    def __init__(
        self,
        spec: TaskSpec,
        mixer: Callable[[], Mixer],
        hidden_size: int,
        layers: int,
        feedforward: int,
        dropout: float,
        optimization: Optimization,
    ) -> None:
        require_positive(hidden_size=hidden_size, layers=layers)
        require_not_negative(feedforward=feedforward)
        require_fraction(dropout=dropout)
        super().__init__(spec, hidden_size, optimization)
        self.enter = nn.Linear(self.embedding.features, hidden_size)
        self.layers = nn.ModuleList(_Layer(mixer(), hidden_size, feedforward, dropout) for _ in range(layers))
        self.leave = nn.LayerNorm(hidden_size)
        self.dropout = dropout

    def stackable(self) -> str | None:
        """Refuses dropout."""
        return (
            "dropout would draw other random numbers than in the trial alone" if self.dropout else super().stackable()
        )

    def initial_state(self, batch_size: int) -> State:
        """Those of all layers, as ``l0/NAME``."""
        return {f"l{place}": layer.mixer.initial_state(batch_size) for place, layer in self._layers()}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step through all layers."""
        x, new = self.enter(inputs), {}
        for place, layer in self._layers():
            mixed, new[f"l{place}"] = layer.mixer.step(layer.norm(x), state[f"l{place}"])
            x = layer.add(x, mixed)
        return self.leave(x), new

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """All steps at once; what stands beyond the end of a sequence reaches none before it."""
        return self.resume(inputs)[0]

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """As `SequenceModel.resume`, all steps at once."""
        # A state that has added up over many steps loses none of its digits where predictions are fed back in half.
        state = brought_to(self.initial_state(len(inputs)) if state is None else state, full(inputs))
        x, new = self.enter(inputs), {}
        for place, layer in self._layers():
            mixed, new[f"l{place}"] = layer.mixer(layer.norm(x), state[f"l{place}"])
            x = layer.add(x, mixed)
        return self.leave(x), new

    def _layers(self) -> Any:
        return enumerate(self.layers)


class _Layer(nn.Module):
    """A mixer and, after it, a layer without time; each adds to its input."""

    def __init__(self, mixer: Mixer, features: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.mixer = mixer
        self.drop = nn.Dropout(dropout)
        units = feedforward * features
        self.feedforward = None
        if units:
            self.feedforward = nn.Sequential(
                nn.LayerNorm(features), nn.Linear(features, units), nn.GELU(), nn.Linear(units, features)
            )

    def add(self, inputs: Tensor, mixed: Tensor) -> Tensor:
        """The layer's output for its input and what the mixer made of that."""
        added = inputs + self.drop(mixed)
        return added if self.feedforward is None else added + self.drop(self.feedforward(added))


def full(values: Tensor) -> Tensor:
    """The same values in single precision at least: a product of many decays needs it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))

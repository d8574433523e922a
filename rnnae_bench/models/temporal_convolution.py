"""The temporal convolutional network: dilated causal convolutions, whose memory is as long as their receptive field.

Source: Bai, Kolter & Koltun (2018), An empirical evaluation of generic convolutional and recurrent networks for
sequence modeling, arXiv:1803.01271.
"""

import math
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv1d, relu

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.stepping import State, brought_to
from rnnae_bench.errors import UserError, require_fraction, require_positive


def receptive_field(kernel: int, levels: int) -> int:
    """Steps that an output depends on: two convolutions a level, with dilations 1, 2, 4, ...

    >>> [receptive_field(3, levels) for levels in (1, 2, 3)]
    [5, 13, 29]
    """
    return 1 + 2 * (kernel - 1) * (2**levels - 1)


def needed_levels(kernel: int, steps: int) -> int:
    """The fewest levels whose receptive field is no shorter than so many steps.

    >>> needed_levels(3, 29), needed_levels(3, 30)
    (3, 4)
    """
    levels = max(1, math.ceil(math.log2((steps - 1) / (2 * (kernel - 1)) + 1)))
    return levels + (receptive_field(kernel, levels) < steps)


class _Convolution(nn.Module):
    """A dilated causal convolution whose weights are a direction times a length (Salimans & Kingma 2016)."""

    def __init__(self, features: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation, self.reach = dilation, (kernel - 1) * dilation
        weight = nn.Conv1d(features, channels, kernel).weight.detach()
        self.direction = nn.Parameter(weight.clone())
        self.length = nn.Parameter(weight.flatten(1).norm(dim=1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, inputs: Float[Tensor, "batch features time"], past: Float[Tensor, "batch features reach"]
    ) -> tuple[Float[Tensor, "batch channels time"], Float[Tensor, "batch features reach"]]:
        """The outputs, and the inputs that the next step still needs."""
        scale = self.length / self.direction.flatten(1).norm(dim=1)
        seen = torch.cat((past.to(inputs.dtype), inputs), dim=2)
        outputs = conv1d(seen, self.direction * scale[:, None, None], self.bias, dilation=self.dilation)
        return outputs, seen[:, :, inputs.shape[2] :]


class _Level(nn.Module):
    """Two convolutions of one dilation, each with relu and dropout, added to what they read."""

    def __init__(self, features: int, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = _Convolution(features, channels, kernel, dilation)
        self.second = _Convolution(channels, channels, kernel, dilation)
        self.drop = nn.Dropout(dropout)
        self.beside = nn.Conv1d(features, channels, 1) if features != channels else nn.Identity()

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero: the last inputs of both convolutions."""
        parts = {"first": self.first, "second": self.second}
        return {name: torch.zeros(batch_size, one.direction.shape[1], one.reach) for name, one in parts.items()}

    def forward(
        self, inputs: Float[Tensor, "batch features time"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch channels time"], dict[str, Tensor]]:
        """The outputs, and the state after the last step."""
        h, first = self.first(inputs, state["first"])
        h = self.drop(relu(h))
        h, second = self.second(h, state["second"])
        return relu(self.drop(relu(h)) + self.beside(inputs)), {"first": first, "second": second}


class TemporalConvolution(SequenceModel):
    """Temporal convolutional network (Bai, Kolter & Koltun 2018): dilated causal convolutions in residual levels.

    Level l has dilation 2^(l-1): h = relu(conv(relu(conv(x)))), y = relu(h + x), with x through a map of its own where
    the channels differ; weights are a direction times a length. An output sees 1 + 2 (k - 1) (2^L - 1) steps, which
    must be no fewer than the task's sequences have. With C channels, kernels of k and F inputs the first level has C (F
    k + C k + 4) weights, and C (F + 1) more where F is not C, each other C (2 C k + 4); the state is the last inputs of
    all convolutions, (k - 1) ((F + C) + 2 C (2^L - 2)) numbers.

    Args:
        spec: The task to serve.
        channels: Of every level, C.
        levels: How many, L; None: as few as see the whole sequence.
        kernel: Taps of a convolution, k.
        dropout: Share of the numbers zeroed after each convolution while training.
        optimization: How to train.
    """

    bibtex = ("bai2018",)

    def __init__(
        self,
        spec: TaskSpec,
        channels: Annotated[int, Range(8, 256, log=True)] = 32,
        levels: int | None = None,
        kernel: Annotated[int, Range(2, 9)] = 5,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(channels=channels)
        require_fraction(dropout=dropout)
        if kernel < 2:
            raise UserError(f"kernel is {kernel}; it must be at least 2, to see more than the present step")
        steps = spec.sequence.length
        fewest = needed_levels(kernel, steps)
        levels = fewest if levels is None else levels
        require_positive(levels=levels)
        if levels < fewest:
            raise UserError(
                f"levels is {levels} with kernel {kernel}: an output sees {receptive_field(kernel, levels)} steps, and "
                f"the task has {steps}; {fewest} levels see {receptive_field(kernel, fewest)}"
            )
        super().__init__(spec, channels, optimization)
        sizes = [self.embedding.features, *[channels] * (levels - 1)]
        self.levels = nn.ModuleList(
            _Level(size, channels, kernel, 2**place, dropout) for place, size in enumerate(sizes)
        )
        self.dropout = dropout

    def stackable(self) -> str | None:
        """Refuses dropout."""
        if self.dropout:
            return "dropout would draw other random numbers than in the trial alone"
        return super().stackable()

    def initial_state(self, batch_size: int) -> State:
        """Those of all levels, as ``l0/NAME``."""
        return {f"l{place}": level.initial_state(batch_size) for place, level in self._levels()}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step through all levels."""
        outputs, new = self._run(inputs.unsqueeze(2), state)
        return outputs.squeeze(2), new

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
        state = brought_to(self.initial_state(len(inputs)) if state is None else state, inputs)
        outputs, new = self._run(inputs.mT, state)
        return outputs.mT, new

    def _run(self, x: Float[Tensor, "batch features time"], state: State) -> tuple[Tensor, State]:
        new = {}
        for place, level in self._levels():
            x, new[f"l{place}"] = level(x, state[f"l{place}"])
        return x, new

    def _levels(self) -> "enumerate[_Level]":
        return enumerate(self.levels)  # type: ignore[arg-type]

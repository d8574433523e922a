"""minGRU and minLSTM: gated recurrences whose gates do not look at the state, so that all steps run at once.

Without the state in the gates, the update is linear in the state, h_t = a_t * h_(t-1) + b_t, and a scan does all steps
(`rnnae_bench.recurrence.scan`). Each stands in a layer of `rnnae_bench.models.residual`, between an input map, here the
gates' own, and an output map W_o.

Source: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi (2024), Were RNNs all we needed?, arXiv:2410.01201.
"""

from abc import abstractmethod
from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.residual import Mixer, ResidualModel, full
from rnnae_bench.recurrence.scan import scan

Candidate = Literal["positive", "linear"]
"""What is written into the state: g(v) = v + 1/2 where v >= 0 and sigma(v) elsewhere (the paper's, in logarithms), or
v itself."""


class _Minimal(Mixer):
    """h_t = a_t * h_(t-1) + b_t with decay and drive of the inputs alone.

    Args:
        features: Of inputs and outputs.
        units: Numbers in the state.
        gates: Affine maps of the inputs that `written` needs.
        candidate: What is written.
    """

    def __init__(self, features: int, units: int, gates: int, candidate: Candidate) -> None:
        super().__init__()
        self.units, self.candidate = units, candidate
        self.read = nn.Linear(features, gates * units)
        self.write = nn.Linear(units, features)

    @abstractmethod
    def written(self, read: Float[Tensor, "*axes gates"]) -> tuple[Tensor, Tensor]:
        """Decay and drive of each step, ``[*axes units]``."""

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero."""
        return {"h": torch.zeros(batch_size, self.units)}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        decay, drive = self.written(full(self.read(inputs)))
        h = decay * state["h"] + drive
        return self.write(h.to(inputs.dtype)), {"h": h}

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`, by a scan."""
        h = scan(*self.written(full(self.read(inputs))), state["h"])
        return self.write(h.to(inputs.dtype)), {"h": h[..., -1, :]}

    def _candidate(self, values: Tensor) -> Tensor:
        return values if self.candidate == "linear" else torch.where(values >= 0, values + 0.5, values.sigmoid())


class _MinGRU(_Minimal):
    def written(self, read: Float[Tensor, "*axes gates"]) -> tuple[Tensor, Tensor]:
        z, values = read.chunk(2, dim=-1)
        return (-z).sigmoid(), z.sigmoid() * self._candidate(values)


class _MinLSTM(_Minimal):
    def written(self, read: Float[Tensor, "*axes gates"]) -> tuple[Tensor, Tensor]:
        f, i, values = read.chunk(3, dim=-1)
        # f / (f + i) and i / (f + i) of two logistic functions, without a division.
        ratio = torch.nn.functional.logsigmoid(f) - torch.nn.functional.logsigmoid(i)
        return ratio.sigmoid(), (-ratio).sigmoid() * self._candidate(values)


class MinGRU(ResidualModel):
    """minGRU (Feng et al. 2024): a GRU whose update gate reads the input alone, and without a reset gate.

    z_t = sigma(W_z x_t + b_z), h_t = (1 - z_t) * h_(t-1) + z_t * g(W_h x_t + b_h), and the layer adds W_o h_t + b_o to
    its input. With F features and S = expansion F numbers in the state of a layer, that has 2 (F + 1) S + (S + 1) F
    weights.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        expansion: Numbers in the state of one layer, in multiples of `hidden_size`.
        candidate: The function g: positive, as in the paper, or none.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("feng2024",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        expansion: int = 2,
        candidate: Candidate = "positive",
        feedforward: int = 0,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        mixer = _mixer(_MinGRU, 2, hidden_size, expansion, candidate)
        super().__init__(spec, mixer, hidden_size, layers, feedforward, dropout, optimization)


class MinLSTM(ResidualModel):
    """minLSTM (Feng et al. 2024): an LSTM whose gates read the input alone and sum to one.

    f_t = sigma(W_f x_t + b_f), i_t = sigma(W_i x_t + b_i), h_t = f_t / (f_t + i_t) * h_(t-1) + i_t / (f_t + i_t) *
    g(W_h x_t + b_h), and the layer adds W_o h_t + b_o to its input. With F features and S = expansion F numbers in the
    state of a layer, that has 3 (F + 1) S + (S + 1) F weights.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        expansion: Numbers in the state of one layer, in multiples of `hidden_size`.
        candidate: The function g: positive, as in the paper, or none.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("feng2024",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        expansion: int = 2,
        candidate: Candidate = "positive",
        feedforward: int = 0,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        mixer = _mixer(_MinLSTM, 3, hidden_size, expansion, candidate)
        super().__init__(spec, mixer, hidden_size, layers, feedforward, dropout, optimization)


def _mixer(
    kind: type[_Minimal], gates: int, hidden_size: int, expansion: int, candidate: Candidate
) -> partial[_Minimal]:
    require_positive(hidden_size=hidden_size, expansion=expansion)
    require_choice(("positive", "linear"), candidate=candidate)
    return partial(kind, hidden_size, expansion * hidden_size, gates, candidate)

"""Vanilla RNN, LSTM and GRU on PyTorch's fused recurrences.

Notation: x_t input, h_t state, sigma the logistic function, * elementwise product, [.] a matrix product. Weights
are laid out as in ``torch.nn``.
"""

from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnae_bench.errors import UserError, require_choice, require_fraction, require_positive
from rnnae_bench.models.initialization import Initialization, initialize, set_gate_bias
from rnnae_bench.module import Optimization, SequenceModel
from rnnae_bench.spec import TaskSpec


class _Recurrent(SequenceModel):
    """What the three have in common: a recurrence of ``torch.nn`` run over padded sequences."""

    def __init__(
        self,
        kind: Callable[..., nn.RNNBase],
        spec: TaskSpec,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        initialization: Initialization,
        optimization: Optimization,
        **options: Any,
    ) -> None:
        require_positive(hidden_size=hidden_size, layers=layers)
        require_fraction(dropout=dropout)
        require_choice(("pytorch", "orthogonal", "identity"), initialization=initialization)
        if dropout and layers == 1:
            raise UserError(f"dropout is {dropout} with one layer; it acts between layers, so set layers to 2 or more")
        super().__init__(spec, hidden_size * (2 if bidirectional else 1), optimization, bidirectional)
        self.recurrence = kind(
            self.embedding.features,
            hidden_size,
            num_layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
            batch_first=True,
            **options,
        )
        initialize(self.recurrence, initialization)

    @property
    def state_size(self) -> int:
        """Numbers carried from one step to the next, over all layers and directions."""
        recurrence = self.recurrence
        per_layer = recurrence.hidden_size * (2 if isinstance(recurrence, nn.LSTM) else 1)
        return per_layer * recurrence.num_layers * (2 if recurrence.bidirectional else 1)

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's state at every step; where sequences differ in length, zero beyond their end."""
        if lengths is None:
            return self.recurrence(inputs)[0]
        packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrence(packed)[0], batch_first=True, total_length=inputs.shape[1])[0]


class RNN(_Recurrent):
    """Vanilla recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        activation: The function f.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights (with relu: the IRNN).
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        layers: int = 1,
        activation: Literal["tanh", "relu"] = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_choice(("tanh", "relu"), activation=activation)
        super().__init__(
            nn.RNN,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            initialization,
            optimization,
            nonlinearity=activation,
        )


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    i, f, o = sigma(W x_t + U h_(t-1) + b) gate by gate, g = tanh(...) likewise,
    c_t = f * c_(t-1) + i * g, h_t = o * tanh(c_t).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state h of one layer and direction; the cell c has as many again.
        layers: Recurrent layers, each reading the states of the one below.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights.
        forget_bias: Bias of the forget gate at the start; positive remembers (Jozefowicz et al. 2015).
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        forget_bias: float = 1.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(nn.LSTM, spec, hidden_size, layers, bidirectional, dropout, initialization, optimization)
        set_gate_bias(self.recurrence, gate=1, bias=forget_bias)


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014), in PyTorch's form with the reset gate after the matrix product.

    r, z = sigma(W x_t + b + U h_(t-1) + b') gate by gate, n = tanh(W x_t + b + r * (U h_(t-1) + b')),
    h_t = (1 - z) * n + z * h_(t-1).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights.
        update_bias: Bias of the update gate z at the start; positive remembers, as the LSTM's forget bias does.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        update_bias: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(nn.GRU, spec, hidden_size, layers, bidirectional, dropout, initialization, optimization)
        set_gate_bias(self.recurrence, gate=1, bias=update_bias)

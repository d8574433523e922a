"""Vanilla RNN, LSTM and GRU on the recurrences of this suite.

Notation: x_t input, h_t state, sigma the logistic function, * elementwise product, [.] a matrix product. Weights
are laid out as in ``torch.nn``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_fraction, require_not_negative, require_positive
from rnnae_bench.models.initialization import Initialization, initialize, set_gate_bias
from rnnae_bench.models.stacked import RecurrentStack
from rnnae_bench.recurrence import gru, lstm, vanilla
from rnnae_bench.recurrence.stack import Stack, States


@dataclass(frozen=True)
class ThroughTime:
    """How state and gradient pass through time while training.

    Args:
        window: Steps after which the gradient is cut (truncated backpropagation through time, Williams & Peng 1990);
            the state is carried on. 0 never cuts.
        learned_state: Learn the initial state, instead of starting from zero.
        stateful: Start each training batch from the final state of the one before; for tasks whose batches continue
            each other.
        recurrent_dropout: Share of the recurrent weights zeroed, the same at all steps of a batch (DropConnect,
            Merity, Keskar & Socher 2018).
    """

    window: int = 0
    learned_state: bool = False
    stateful: bool = False
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        require_not_negative(window=self.window)
        require_fraction(recurrent_dropout=self.recurrent_dropout)
        if self.learned_state and self.stateful:
            raise UserError("learned_state and stateful are both set, and a batch can start from one state only")


class _Recurrent(SequenceModel):
    """What the three have in common: a stack of recurrences run over padded sequences."""

    def __init__(
        self,
        kind: Callable[..., Stack],
        spec: TaskSpec,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        initialization: Initialization,
        through_time: ThroughTime,
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
            recurrent_dropout=through_time.recurrent_dropout,
            window=through_time.window,
            learned_state=through_time.learned_state,
            **options,
        )
        initialize(self.recurrence, initialization)
        self._stateful = through_time.stateful
        self._carried: States | None = None

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what `SequenceModel` does, and to carry a state over to batches that don't continue the last."""
        through_time = hyperparameters.get("through_time", ThroughTime())
        stateful = through_time["stateful"] if isinstance(through_time, dict) else through_time.stateful
        if stateful and not spec.continues:
            return "its batches don't continue each other, so that no state can be carried over (through_time.stateful)"
        return super().supports(spec, **hyperparameters)

    @property
    def state_size(self) -> int:
        """Numbers carried from one step to the next, over all layers and directions."""
        recurrence = self.recurrence
        per_layer = recurrence.hidden_size * recurrence.states
        return per_layer * recurrence.num_layers * (2 if recurrence.bidirectional else 1)

    def stackable(self) -> str | None:
        """On their own model axis, which a class derived from these may not use: without dropout or a carried state."""
        if type(self) not in (RNN, LSTM, GRU):
            return super().stackable()
        if self.recurrence.dropout or self.recurrence.recurrent_dropout:
            return "dropout would draw other random numbers than in the trial alone"
        if self._stateful:
            return "it carries its state from batch to batch"
        return None

    @classmethod
    def stack(cls, models: Sequence[Any]) -> nn.Module:
        """K models on the recurrence's own model axis."""
        return RecurrentStack(models) if cls in (RNN, LSTM, GRU) else super().stack(models)

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's state at every step; where sequences differ in length, zero beyond their end."""
        if not (self._stateful and self.training):
            return self.recurrence(inputs, lengths)[0]
        carried = self._carried
        if carried is not None and carried[0].shape[-2] != len(inputs):
            carried = None
        states, final = self.recurrence(inputs, lengths, carried)
        self._carried = tuple(one.detach() for one in final)
        return states

    @property
    def resumes(self) -> bool:
        """Whether `resume` gives what `forward` reads: not where half of it is read from the end."""
        own = type(self)
        return not self.bidirectional and (own.forward, own.states) == (SequenceModel.forward, _Recurrent.states)

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: States | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], States]:
        """The last layer's state at every step of inputs that go on from the states of all layers, and the latter."""
        return self.recurrence(inputs, None, state)


class RNN(_Recurrent):
    """Vanilla recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        activation: The function f; with the identity the recurrence is linear.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights (with relu: the IRNN).
        through_time: How state and gradient pass through time while training.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        activation: Literal["tanh", "relu", "identity"] = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        through_time: ThroughTime = ThroughTime(),
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_choice(("tanh", "relu", "identity"), activation=activation)
        super().__init__(
            vanilla.RNN,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            initialization,
            through_time,
            optimization,
            activation=activation,
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
        through_time: How state and gradient pass through time while training.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        forget_bias: float = 1.0,
        through_time: ThroughTime = ThroughTime(),
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            lstm.LSTM, spec, hidden_size, layers, bidirectional, dropout, initialization, through_time, optimization
        )
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
        through_time: How state and gradient pass through time while training.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        update_bias: float = 0.0,
        through_time: ThroughTime = ThroughTime(),
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            gru.GRU, spec, hidden_size, layers, bidirectional, dropout, initialization, through_time, optimization
        )
        set_gate_bias(self.recurrence, gate=1, bias=update_bias)

"""Vanilla RNN, IRNN, LSTM and GRU on the recurrences of this suite.

Notation: x_t input, h_t state, sigma the logistic function, * elementwise product, [.] a matrix product. Weights
are laid out as in ``torch.nn``. Weights are counted of one layer and direction that reads F numbers into a state of H;
the layers above read those of the one below, and to all comes the head's affine map.
"""

from typing import Annotated, ClassVar, Literal

import torch

from rnnae_bench.contracts.heads import Head
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.initialization import Initialization, set_gate_bias, start_summing
from rnnae_bench.models.recurrence_model import Readout, RecurrenceModel, ThroughTime
from rnnae_bench.recurrence import gru, lstm, vanilla
from rnnae_bench.recurrence.lstm import Forget
from rnnae_bench.recurrence.reference import Reset
from rnnae_bench.recurrence.reset_before import ResetBeforeGRU


class RNN(RecurrenceModel):
    """Vanilla recurrent network (Elman 1990): h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    The prediction is W_hy h_t + b_y. Without biases that is h_t = f(W_ih x_t + W_hh h_(t-1)) and W_hy h_t. It has
    H (F + H + 2) weights, H (F + H) without biases, and a state of H numbers.

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
        bias: Whether recurrence and head have biases.
        readout: What one answer a sequence is read from: the state after the last step, or the states of all T steps
            side by side, with T times as many weights of the head; sequences are of one length then.
    """

    bibtex = ("elman1990",)

    model_axis = True

    later_options: ClassVar = ("bias", "readout")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        activation: Literal["tanh", "relu", "identity"] = "tanh",
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
        bias: bool = True,
        readout: Readout = "last",
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
            readout,
            activation=activation,
            bias=bias,
        )
        if not bias:
            self.head = Head(spec, self.head.affine.in_features, bias=False)


class IRNN(RecurrenceModel):
    """RNN of rectified linear units that starts as the identity (Le, Jaitly & Hinton 2015, arXiv:1504.00941).

    h_t = relu(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), where W_hh starts as the identity times `scale` and the
    biases as zero: until it has learned, a state adds up what comes in. It has H (F + H + 2) weights and a state of H
    numbers.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        scale: What the identity is multiplied with at the start; below 1 an IRNN forgets (0.01 in the paper's speech).
        input_scale: W_ih starts as normal with a standard deviation of this times sqrt(2 / (F T)), T steps a sequence.
            That is more than the paper's 0.001, with which Adam needs more steps.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        through_time: How state and gradient pass through time while training.
        optimization: How to train; states grow without bound where the learning rate is large, so it is small.
    """

    bibtex = ("le2015",)

    model_axis = True

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        scale: float = 1.0,
        input_scale: float = 1.0,
        bidirectional: bool = False,
        dropout: float = 0.0,
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(learning_rate=1e-3),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(scale=scale, input_scale=input_scale)
        super().__init__(
            vanilla.RNN,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            "identity",
            through_time,
            optimization,
            activation="relu",
            # A state adds up what comes in, each time little beside what there is.
            in_full=True,
        )
        start_summing(self.recurrence, spec.sequence.length, input_scale)
        with torch.no_grad():
            for name, weight in self.recurrence.named_parameters():
                if name.startswith("weight_hh"):
                    weight.mul_(scale)


class LSTM(RecurrenceModel):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    i, f, o = sigma(W x_t + U h_(t-1) + b) gate by gate, g = tanh(...) likewise,
    c_t = f * c_(t-1) + i * g, h_t = o * tanh(c_t).
    With `forget` coupled, i = 1 - f (Greff et al. 2017); with none, f = 1, as in 1997. With `peepholes` (Gers &
    Schmidhuber 2000) i and f add p * c_(t-1) before their sigma, and o adds p * c_t. It has 4 H (F + H + 2) weights, or
    3 H (F + H + 2) without a forget gate of its own, and as many peepholes as gates i, f, o, H each. The state is h and
    c, 2 H numbers.

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
        forget: A forget gate of its own, one coupled to the input gate, or none; without one forget_bias does nothing.
        peepholes: Whether the gates see the cell; these weights start as zero.
        readout: What one answer a sequence is read from: the state after the last step, or the states of all T steps
            side by side, with T times as many weights of the head; sequences are of one length then.
    """

    bibtex = ("hochreiter1997", "gers2000", "gers2000time", "greff2017")

    model_axis = True

    later_options: ClassVar = ("forget", "peepholes", "readout")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        forget_bias: float = 1.0,
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
        forget: Forget = "gate",
        peepholes: bool = False,
        readout: Readout = "last",
    ) -> None:
        require_choice(("gate", "coupled", "none"), forget=forget)
        super().__init__(
            lstm.LSTM,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            initialization,
            through_time,
            optimization,
            readout,
            forget=forget,
            peepholes=peepholes,
        )
        if forget != "none":
            set_gate_bias(self.recurrence, gate=1 if forget == "gate" else 0, bias=forget_bias)


class GRU(RecurrenceModel):
    """Gated recurrent unit (Cho et al. 2014), in PyTorch's form with the reset gate after the matrix product.

    r, z = sigma(W x_t + b + U h_(t-1) + b') gate by gate, n = tanh(W x_t + b + r * (U h_(t-1) + b')),
    h_t = (1 - z) * n + z * h_(t-1).
    With `reset` before, as first published, n = tanh(W x_t + b + U (r * h_(t-1)) + b'). It has 3 H (F + H + 2) weights
    and a state of H numbers.

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
        reset: Whether the reset gate acts after the recurrent matrix product (as in PyTorch and cuDNN) or before it.
        readout: What one answer a sequence is read from: the state after the last step, or the states of all T steps
            side by side, with T times as many weights of the head; sequences are of one length then.
    """

    bibtex = ("cho2014",)

    model_axis = True

    later_options: ClassVar = ("reset", "readout")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        initialization: Initialization = "orthogonal",
        update_bias: float = 0.0,
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
        reset: Reset = "after",
        readout: Readout = "last",
    ) -> None:
        require_choice(("after", "before"), reset=reset)
        super().__init__(
            gru.GRU if reset == "after" else ResetBeforeGRU,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            initialization,
            through_time,
            optimization,
            readout,
        )
        set_gate_bias(self.recurrence, gate=1, bias=update_bias)

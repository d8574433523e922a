"""Keras' recurrent layers."""

from collections.abc import Callable

from rnnae_bench import Optimization, SequenceModel, TaskSpec
from rnnae_bench_keras.on_torch import In32Bits, built, glorot, keras, on, orthogonal


class _KerasRecurrence(In32Bits, SequenceModel):
    """A recurrent layer of Keras; its loop gives the states, its cell one step.

    Args:
        kind: The layer's class.
        spec: The task to serve.
        hidden_size: Numbers in the state.
        optimization: How to train.
    """

    def __init__(
        self, kind: Callable[..., keras.Layer], spec: TaskSpec, hidden_size: int, optimization: Optimization
    ) -> None:
        super().__init__(spec, hidden_size, optimization)
        layer = kind(
            hidden_size,
            kernel_initializer=glorot(),
            recurrent_initializer=orthogonal(),
            return_sequences=True,
            dtype="float32",
            name="recurrence",
        )
        self.recurrence = built(layer, None, None, self.embedding.features)

    def states(self, inputs, lengths=None):
        with on(inputs.device):
            return self.recurrence(inputs)

    def initial_state(self, batch_size):
        return self.head.affine.weight.new_zeros(batch_size, self.recurrence.units)

    def step(self, inputs, state):
        with on(inputs.device):
            states, _ = self.recurrence.cell(inputs, [state])
        return states, states


class KerasRNN(_KerasRecurrence):
    """Keras' SimpleRNN: h_t = tanh(W x_t + U h_(t-1) + b).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(keras.layers.SimpleRNN, spec, hidden_size, optimization)


class KerasGRU(_KerasRecurrence):
    """Keras' GRU, the reset gate after the matrix product: z, r = sigma(W x_t + b + U h_(t-1) + b') gate by gate.

    n = tanh(W x_t + b + r * (U h_(t-1) + b')), h_t = z * h_(t-1) + (1 - z) * n.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(keras.layers.GRU, spec, hidden_size, optimization)

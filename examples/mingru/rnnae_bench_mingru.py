"""The minGRU of the package minGRU-pytorch (Feng et al. 2024, arXiv:2410.01201) as a model of rnnae-bench."""

from minGRU_pytorch import minGRU
from torch import nn

from rnnae_bench import Optimization, SequenceModel, TaskSpec


class MinGRU(SequenceModel):
    """minGRU: h_t = (1 - z_t) h_(t-1) + z_t g(W x_t), z_t = sigma(U x_t), by a parallel scan in log space.

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
        super().__init__(spec, hidden_size, optimization)
        self.inputs = nn.Linear(self.embedding.features, hidden_size)
        self.recurrence = minGRU(hidden_size)

    def states(self, inputs, lengths=None):
        return self.recurrence(self.inputs(inputs))

    def initial_state(self, batch_size):
        return self.inputs.weight.new_zeros(batch_size, 1, self.inputs.out_features)

    def step(self, inputs, state):
        state = self.recurrence(self.inputs(inputs).unsqueeze(1), state)
        return state.squeeze(1), state

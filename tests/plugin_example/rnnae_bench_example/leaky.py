"""A recurrent network of leaky integrators."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench import Optimization, SequenceModel, TaskSpec
from rnnae_bench.errors import UserError, require_positive


class LeakyRNN(SequenceModel):
    """Leaky-integrator network (Jaeger et al. 2007): h_t = (1 - a) h_(t-1) + a tanh(W x_t + b + U h_(t-1)).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state.
        leak: The share a of the state that is renewed at each step; 1 gives the vanilla RNN.
        optimization: How to train.
    """

    bibtex = ("jaeger2007",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 128,
        leak: float = 0.5,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size)
        if not 0 < leak <= 1:
            raise UserError(f"leak is {leak}; it must be above 0 and at most 1")
        super().__init__(spec, hidden_size, optimization)
        self.leak = leak
        self.input_map = nn.Linear(self.embedding.features, hidden_size)
        self.recurrent_map = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.orthogonal_(self.recurrent_map.weight)

    @property
    def state_size(self) -> int:
        """Numbers carried from one step to the next."""
        return self.recurrent_map.in_features

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The state at every step; it does not look at what comes later, so padding needs no care."""
        state = inputs.new_zeros(len(inputs), self.state_size)
        states = []
        for drive in self.input_map(inputs).unbind(1):
            new = torch.tanh(drive + self.recurrent_map(state))
            state = (1 - self.leak) * state + self.leak * new
            states.append(self.watch(state))
        return torch.stack(states, dim=1)

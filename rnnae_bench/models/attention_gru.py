"""A GRU that looks back at its own states."""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.attention import Score, attention
from rnnae_bench.models.initialization import initialize
from rnnae_bench.recurrence import gru


class AttentionGRU(SequenceModel):
    """Attention over the states of a GRU (after Bahdanau, Cho & Bengio 2015): each step reads a mean of those so far.

    h_t = gru(x_t, h_(t-1)), c_t = sum over s up to t of softmax(score(h_t, h_s)) h_s, and the head reads (h_t, c_t). A
    gradient has a way back to each state that is as short as to the last. With the score q W m / sqrt(N) there are N^2
    weights beside those of the GRU, of N units, and of the head. The state grows by N numbers with every step.

    Args:
        spec: The task to serve.
        hidden_size: Units of the GRU, N.
        layers: Recurrent layers; the states of the last are looked at.
        score: How a state is scored: q W m, or v tanh(W q + U m), which takes N times the memory.
        optimization: How to train.
    """

    bibtex = ("bahdanau2015", "cho2014")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        score: Score = "dot",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, layers=layers)
        require_choice(("additive", "dot"), score=score)
        super().__init__(spec, 2 * hidden_size, optimization)
        self.recurrence = gru.GRU(self.embedding.features, hidden_size, num_layers=layers)
        initialize(self.recurrence, "orthogonal")
        self.attention = attention(score, hidden_size, hidden_size)
        self._hidden_size = hidden_size

    @property
    def state_size(self) -> Growing:
        """What a step adds to what is looked at."""
        return Growing(self._hidden_size)

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """State and context of every step."""
        h = self.recurrence(inputs, lengths)[0]
        later = torch.ones(h.shape[-2], h.shape[-2], dtype=torch.bool, device=h.device).triu(1)
        return torch.cat((h, self.attention(h, h, later.expand(len(h), -1, -1))), dim=-1)

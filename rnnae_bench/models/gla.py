"""Gated linear attention: linear attention whose memory decays at rates that the inputs set."""

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_positive
from rnnae_bench.models.matrix_memory import MatrixMemory
from rnnae_bench.models.residual import ResidualModel
from rnnae_bench.recurrence import gated_attention


class _Gated(MatrixMemory):
    """A memory whose rows decay.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        convolution: Steps that a query or a key is made of.
        rank: Of the map to the decays.
        temperature: tau; the larger, the slower are decays.
    """

    def __init__(
        self, features: int, heads: int, keys: int, values: int, convolution: int, rank: int, temperature: float
    ) -> None:
        require_positive(rank=rank, temperature=temperature)
        super().__init__(features, heads, keys, values, convolution)
        self.temperature = temperature
        self.narrow = nn.Linear(features, rank, bias=False)
        self.widen = nn.Linear(rank, heads * keys)
        self.gate = nn.Linear(features, heads * values, bias=False)

    def written(
        self, inputs: Float[Tensor, "*axes features"], seen: Float[Tensor, "*axes features"]
    ) -> Sequence[Float[Tensor, "*axes heads _"]]:
        """q_t, k_t, v_t and log alpha_t."""
        q, k = (self.by_heads(each(seen)) for each in (self.query, self.key))
        v, decay = self.by_heads(self.value(inputs)), self.by_heads(self.widen(self.narrow(inputs)))
        log_decay = (logsigmoid(decay) / self.temperature).clamp(min=gated_attention.STEEPEST)
        return self.keys**-0.5 * q, k, v, log_decay

    def one(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.one`."""
        q, k, v, log_decay = written
        read, memory = gated_attention.step(q, k, v, log_decay, state["S"])
        return read, {"S": memory}

    def all(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.all`, by chunks and a scan."""
        q, k, v, log_decay = written
        read, memory = gated_attention.chunked(q, k, v, log_decay, state["S"])
        return read, {"S": memory}

    def gated(
        self, read: Float[Tensor, "*axes heads values"], inputs: Float[Tensor, "*axes features"]
    ) -> Float[Tensor, "*axes heads values"]:
        """Times silu(W_r x_t)."""
        return silu(self.gate(inputs)).unflatten(-1, (self.heads, -1)) * read


class GLA(ResidualModel):
    """Gated linear attention (Yang, Wang et al. 2024): linear attention that forgets as the inputs tell it to.

    S_t = diag(alpha_t) S_(t-1) + k_t v_t^T and o_t = S_t^T q_t / sqrt(K) in each head, where q_t, k_t and v_t are
    linear in x_t, and alpha_t = sigma(W_2 W_1 x_t + b)^(1/tau), W_1 of few rows, kept above e^-10; the layer adds
    W_o [silu(W_r x_t) * norm(o_t)] to its input. With F features, H heads of K keys and V values (a state of H K V
    numbers in each layer) and rank R, a layer has 2 F H K + 3 F H V + F R + (R + 1) H K + V weights. A short
    convolution of C steps in front of queries and keys adds F (C + 1) weights and F (C - 1) numbers of state.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        heads: Memories side by side in a layer.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values; in the paper twice as many as keys.
        rank: Of the map from the inputs to the decays.
        temperature: The number tau; the larger, the slower the memory decays.
        convolution: Steps that a query or a key is made of, 2 or more; 0 is without a convolution.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("yang2024gated",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        heads: int = 2,
        keys: int = 16,
        values: int = 32,
        rank: int = 16,
        temperature: float = 16.0,
        convolution: int = 0,
        feedforward: int = 2,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            spec,
            lambda: _Gated(hidden_size, heads, keys, values, convolution, rank, temperature),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )

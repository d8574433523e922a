"""DeltaNet: linear attention whose memory is corrected, key by key, by the delta rule."""

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.models.matrix_memory import MatrixMemory
from rnnae_bench.models.residual import ResidualModel
from rnnae_bench.recurrence import delta_rule


class _Delta(MatrixMemory):
    """The delta rule of normalised keys and queries.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        convolution: Steps that a query or a key is made of.
        largest: Of the step sizes beta; eigenvalues are 1 - beta and 1.
    """

    def __init__(self, features: int, heads: int, keys: int, values: int, convolution: int, largest: float) -> None:
        super().__init__(features, heads, keys, values, convolution)
        self.largest = largest
        self.rate = nn.Linear(features, heads, bias=False)

    def written(
        self, inputs: Float[Tensor, "*axes features"], seen: Float[Tensor, "*axes features"]
    ) -> Sequence[Float[Tensor, "*axes heads _"]]:
        """q_t, k_t, v_t and beta_t."""
        q, k = (self.by_heads(each(seen)) for each in (self.query, self.key))
        v, beta = (self.by_heads(each(inputs)) for each in (self.value, self.rate))
        return _unit(silu(q)), _unit(silu(k)), v, self.largest * beta.sigmoid()

    def one(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.one`."""
        q, k, v, beta = written
        read, memory = delta_rule.step(q, k, v, beta, state["S"])
        return read, {"S": memory}

    def all(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.all`, by chunks."""
        q, k, v, beta = written
        read, memory = delta_rule.chunked(q, k, v, beta, state["S"])
        return read, {"S": memory}


def _unit(values: Float[Tensor, "*axes keys"]) -> Float[Tensor, "*axes keys"]:
    """Vectors of length 1; shorter where they are close to 0, so that gradients stay finite."""
    return values * (values.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class DeltaNet(ResidualModel):
    """DeltaNet (Schlag et al. 2021, in the parallel form of Yang et al. 2024): memory that corrects itself.

    S_t = (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T and o_t = S_t^T q_t in each head, where q_t and k_t are
    silu(W_q x_t) and silu(W_k x_t) scaled to length 1, v_t = W_v x_t and beta_t = sigma(w x_t); the layer adds
    W_o norm(o_t) to its input. The memory's matrix has the eigenvalues 1 and 1 - beta_t, from 0 to 1. With twice that
    beta they go from -1 to 1, and a step may turn the sign of what is stored under a key, without which no such
    recurrence tells the parity of its inputs (Grazzi et al. 2025). With F features and H heads of K keys and V values
    (a state of H K V numbers in each layer), a layer has 2 F H (K + V) + F H + V weights. A short convolution of C
    steps in front of queries and keys, as the later papers have, adds F (C + 1) weights and F (C - 1) numbers of state.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        heads: Memories side by side in a layer.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        negative_eigenvalues: Take 2 sigma(w x_t) for beta_t.
        convolution: Steps that a query or a key is made of, 2 or more; 0 is without a convolution.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("schlag2021", "yang2024delta", "grazzi2025")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        heads: int = 2,
        keys: int = 32,
        values: int = 32,
        negative_eigenvalues: bool = False,
        convolution: int = 0,
        feedforward: int = 2,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        largest = 2.0 if negative_eigenvalues else 1.0
        super().__init__(
            spec,
            lambda: _Delta(hidden_size, heads, keys, values, convolution, largest),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )

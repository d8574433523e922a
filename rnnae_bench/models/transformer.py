"""The causal transformer, whose state is a cache that grows with every step.

Sources: Vaswani et al. (2017), Attention is all you need, NeurIPS; the norm in front: Xiong et al. (2020), On layer
normalization in the transformer architecture, ICML; rotary positions: Su, Lu, Pan, Murtadha, Wen & Liu (2021),
RoFormer, arXiv:2104.09864.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.models.residual import Mixer, ResidualModel

Positions = Literal["rotary", "none"]


def rotated(vectors: Float[Tensor, "*axes time size"], first: int) -> Float[Tensor, "*axes time size"]:
    """Vectors turned by their position: the pair (2 i, 2 i + 1) by the angle t 10000^(-2 i / size) (RoFormer, eq. 15).

    Args:
        vectors: Queries or keys of steps in a row.
        first: Position of the first of them.
    """
    size, steps = vectors.shape[-1], vectors.shape[-2]
    place = torch.arange(first, first + steps, device=vectors.device, dtype=torch.float64)
    rates = 10_000.0 ** -(torch.arange(0, size, 2, device=vectors.device, dtype=torch.float64) / size)
    angle = place.unsqueeze(1) * rates
    cosine, sine = angle.cos().to(vectors.dtype), angle.sin().to(vectors.dtype)
    even, odd = vectors[..., 0::2], vectors[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


class _Attention(Mixer):
    """Causal attention of several heads; the state is the keys and values of all steps so far.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        positions: How steps know where they are.
    """

    def __init__(self, features: int, heads: int, positions: Positions) -> None:
        super().__init__()
        self.heads, self.size, self.positions = heads, features // heads, positions
        self.into = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Nothing yet: keys and values of no step."""
        return {name: torch.zeros(batch_size, self.heads, 0, self.size) for name in ("k", "v")}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        outputs, new = self(inputs.unsqueeze(1), state)
        return outputs.squeeze(1), new

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`."""
        parts = self.into(inputs).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for part in parts)
        before, steps = state["k"].shape[2], inputs.shape[1]
        if self.positions == "rotary":
            q, k = rotated(q, before), rotated(k, before)
        k, v = torch.cat((state["k"].to(k.dtype), k), dim=2), torch.cat((state["v"].to(v.dtype), v), dim=2)
        seen = torch.ones(steps, before + steps, dtype=torch.bool, device=q.device).tril(before)
        read = scaled_dot_product_attention(q, k, v, seen)
        return self.out(read.transpose(1, 2).flatten(2)), {"k": k, "v": v}


class Transformer(ResidualModel):
    """Causal transformer (Vaswani et al. 2017) with the norm in front of each part (Xiong et al. 2020).

    In each layer, of H heads, every step reads a mean of the values of the steps so far, weighted by the softmax of q_t
    k_s / sqrt(F/H), and then passes W_2 gelu(W_1 x + b_1) + b_2; both are added to what they read. Queries and keys are
    turned by their positions (RoFormer), so that a score depends on the distance of two steps. With F features a layer
    has 4 F (F + 1) weights in its attention, F (2 m F + m + 1) in what follows, m being `feedforward`, and 2 F in each
    of the norms before them. The state grows by 2 F numbers a layer with every step.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers, F.
        layers: How many layers.
        heads: Of a layer; they share the features.
        feedforward: Units of the layer without time after each, in multiples of `hidden_size`.
        positions: ``rotary``, or ``none``: the mask alone then tells the order.
        dropout: Share of what each part adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("vaswani2017", "xiong2020", "su2021")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int = 4,
        positions: Positions = "rotary",
        dropout: float = 0.0,
        optimization: Optimization = Optimization(learning_rate=1e-3),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, heads=heads)
        require_choice(("rotary", "none"), positions=positions)
        if hidden_size % heads or (positions == "rotary" and hidden_size // heads % 2):
            even = ", an even number each" if positions == "rotary" else ""
            raise UserError(f"hidden_size is {hidden_size} with {heads} heads; they must share it evenly{even}")
        super().__init__(
            spec,
            lambda: _Attention(hidden_size, heads, positions),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )
        self._per_step = 2 * hidden_size * layers

    @property
    def state_size(self) -> Growing:
        """What a step adds to the cache."""
        return Growing(self._per_step)

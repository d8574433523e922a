"""The two cells of xLSTM, each in layers of its own: a matrix that is read with queries, and scalars that mix.

Source: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter (2024), xLSTM: extended
long short-term memory, NeurIPS. Gates start as in the authors' code (github.com/NX-AI/xlstm).
"""

from collections.abc import Sequence
from itertools import count
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.matrix_memory import MatrixMemory
from rnnae_bench.models.residual import Mixer, ResidualModel, full
from rnnae_bench.recurrence import exponential_gates


class _MLSTM(MatrixMemory):
    """A matrix memory with scalar gates.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        convolution: Steps that a query or a key is made of.
        forget_bias: Of the first and of the last head's forget gate at the start.
    """

    def __init__(
        self,
        features: int,
        heads: int,
        keys: int,
        values: int,
        convolution: int,
        forget_bias: tuple[float, float],
    ) -> None:
        super().__init__(features, heads, keys, values, convolution)
        self.input_gate, self.forget_gate = nn.Linear(features, heads), nn.Linear(features, heads)
        for gate in (self.input_gate, self.forget_gate):
            nn.init.zeros_(gate.weight)
        nn.init.normal_(self.input_gate.bias, std=0.1)
        self.forget_gate.bias.data = torch.linspace(*forget_bias, heads)
        self.output_gate = nn.Linear(features, heads * values)

    def written(
        self, inputs: Float[Tensor, "*axes features"], seen: Float[Tensor, "*axes features"]
    ) -> Sequence[Float[Tensor, "*axes heads _"]]:
        """q_t, k_t, v_t, i_t and log f_t."""
        q, k = (self.by_heads(each(seen)) for each in (self.query, self.key))
        v, i, f = (self.by_heads(each(inputs)) for each in (self.value, self.input_gate, self.forget_gate))
        return q, self.keys**-0.5 * k, v, i, logsigmoid(f)

    def empty(self, batch_size: int) -> dict[str, Tensor]:
        """As `MatrixMemory.empty`."""
        rows = batch_size, self.heads
        return {
            "C": torch.zeros(*rows, self.keys, self.values),
            "n": torch.zeros(*rows, self.keys),
            "m": torch.zeros(*rows, 1),
        }

    def one(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.one`."""
        q, k, v, i, log_forget = written
        read, memory = exponential_gates.matrix_step(q, k, v, i, log_forget, (state["C"], state["n"], state["m"]))
        return read, dict(zip("Cnm", memory, strict=True))

    def all(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MatrixMemory.all`, by chunks and a scan."""
        q, k, v, i, log_forget = written
        read, memory = exponential_gates.matrix_chunked(q, k, v, i, log_forget, (state["C"], state["n"], state["m"]))
        return read, dict(zip("Cnm", memory, strict=True))

    def gated(
        self, read: Float[Tensor, "*axes heads values"], inputs: Float[Tensor, "*axes features"]
    ) -> Float[Tensor, "*axes heads values"]:
        """Times sigma(W_out x_t + b_out)."""
        return self.output_gate(inputs).sigmoid().unflatten(-1, (self.heads, -1)) * read


class _SLSTM(Mixer):
    """Scalar memories whose gates look at the state of their head.

    Args:
        features: Of inputs and outputs; as many numbers has each of the four parts of the state.
        heads: Blocks of the recurrent weights.
        depth: Where in the stack it stands, from 0 to 1: how evenly the forget gates are spread at the start.
    """

    def __init__(self, features: int, heads: int, depth: float) -> None:
        super().__init__()
        self.features, self.heads, size = features, heads, features // heads
        self.read = nn.Linear(features, 4 * features, bias=False)
        self.recurrent = nn.Parameter(torch.zeros(heads, size, 4 * size))
        """R of each head, from h_(t-1) to the preactivations of i, f, z and o."""
        self.bias = nn.Parameter(torch.zeros(heads, 4, size))
        self.bias.data[:, 1] = 5.0 - 12.0 * torch.linspace(0, 1, size) ** (0.3 + 1.3 * depth)
        self.norm = nn.LayerNorm(size, bias=False)
        self.write = nn.Linear(features, features, bias=False)

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """An empty memory."""
        return {name: torch.zeros(batch_size, self.features) for name in "hcnm"}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        state = self._next(full(self.read(inputs)), state)
        return self._out(state["h"], inputs), state

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`, step by step: what the gates see of the state allows no other way."""
        states = []
        for read in full(self.read(inputs)).unbind(1):
            state = self._next(read, state)
            states.append(state["h"])
        return self._out(torch.stack(states, dim=1), inputs), state

    def _next(self, read: Float[Tensor, "batch gates"], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state after a step, from the preactivations that the inputs give."""
        h, c, n, m = (state[name].unflatten(-1, (self.heads, -1)) for name in "hcnm")
        with torch.autocast(read.device.type, enabled=False):
            mixed = (h.unsqueeze(-2) @ full(self.recurrent)).squeeze(-2) + self.bias.flatten(-2)
        i, f, z, o = (read.unflatten(-1, (self.heads, -1)) + mixed).chunk(4, dim=-1)
        new = exponential_gates.scalar_step(i, f, z, o, c, n, m)
        return {name: part.flatten(-2) for name, part in zip("hcnm", new, strict=True)}

    def _out(self, h: Float[Tensor, "*axes features"], inputs: Float[Tensor, "*axes features"]) -> Tensor:
        normed = self.norm(h.to(self.norm.weight.dtype).unflatten(-1, (self.heads, -1)))
        return self.write(normed.flatten(-2))


class MLSTM(ResidualModel):
    """mLSTM of xLSTM (Beck et al. 2024): a matrix memory with an exponential input gate; all steps at once.

    C_t = f_t C_(t-1) + e^i_t v_t k_t^T, n_t = f_t n_(t-1) + e^i_t k_t and h_t = C_t q_t / max(|n_t . q_t|, 1) in each
    head, where v_t is linear in x_t, and q_t and sqrt(K) k_t are in silu of a short convolution of the inputs, i_t =
    w_i . x_t + b_i and f_t = sigma(w_f . x_t + b_f); C and n are kept divided by e^m_t, m_t = max(log f_t + m_(t-1),
    i_t). The layer adds W_o [sigma(W x_t + b) * norm(h_t)] to its input. With F features, H heads of K keys and V
    values and a convolution of L steps (a state of H (K V + K + 1) + F (L - 1) numbers in each layer), a layer has
    2 F H (K + V) + 2 (F + 1) H + (F + 1) H V + V + F (L + 1) weights. As in xLSTM 7B (Beck et al. 2025), whose layers
    have no convolution, there is no map to more features in front.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        heads: Memories side by side in a layer.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        convolution: Steps that a query or a key is made of, 2 or more; 0 is without a convolution.
        forget_bias: Of the first and of the last head's forget gate at the start, the others evenly between; positive
            remembers.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("beck2024", "beck2025")

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        heads: int = 2,
        keys: int = 32,
        values: int = 32,
        convolution: int = 4,
        forget_bias: tuple[float, float] = (3.0, 6.0),
        feedforward: int = 2,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            spec,
            lambda: _MLSTM(hidden_size, heads, keys, values, convolution, forget_bias),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )


class SLSTM(ResidualModel):
    """sLSTM of xLSTM (Beck et al. 2024): an LSTM with an exponential input gate, whose gates see their head's state.

    i, f, z, o = W x_t + R h_(t-1) + b gate by gate, R a block a head; c_t = sigma(f) * c_(t-1) + e^i * tanh(z),
    n_t = sigma(f) * n_(t-1) + e^i, h_t = sigma(o) * c_t / n_t; c and n are kept divided by e^m_t, m_t = max(
    log sigma(f) + m_(t-1), i). The layer adds W_o norm(h_t) to its input. With F features (a state of 4 F numbers in
    each layer) and H heads, a layer has 5 F^2 + 4 F^2 / H + 4 F + F / H weights. There is no way to do all steps at
    once.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers; each of h, c, n and m has as many numbers.
        layers: How many layers.
        heads: Blocks of the recurrent weights, which must divide `hidden_size`.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("beck2024",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        heads: int = 2,
        feedforward: int = 2,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, heads=heads)
        if hidden_size % heads:
            raise UserError(f"hidden_size is {hidden_size} with {heads} heads; it must be a multiple of them")
        place = count()
        super().__init__(
            spec,
            lambda: _SLSTM(hidden_size, heads, next(place) / max(1, layers - 1)),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )

"""A selective state space: its step, input and output depend on what is read.

Source: Gu & Dao (2023), Mamba: linear-time sequence modeling with selective state spaces, arXiv:2312.00752.
"""

import math
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_positive
from rnnae_bench.models.residual import Mixer, ResidualModel, full
from rnnae_bench.recurrence.scan import scan


class _Selective(Mixer):
    """A short convolution, then the selective state space, gated.

    Args:
        features: Of inputs and outputs.
        units: Features within.
        state: Numbers in the state of each.
        width: Steps of the convolution.
    """

    def __init__(self, features: int, units: int, state: int, width: int) -> None:
        super().__init__()
        self.units, self.width = units, width
        self.rank = math.ceil(features / 16)
        self.into = nn.Linear(features, 2 * units, bias=False)
        self.taps = nn.Parameter(torch.empty(units, width).uniform_(-1, 1) / math.sqrt(width))
        """Of the convolution, the oldest first."""
        self.shift = nn.Parameter(torch.empty(units).uniform_(-1, 1) / math.sqrt(width))
        self.select = nn.Linear(units, self.rank + 2 * state, bias=False)
        self.rate = nn.Linear(self.rank, units)
        self.log_decay = nn.Parameter(torch.arange(1, state + 1, dtype=torch.float32).log().repeat(units, 1))
        """ln -A."""
        self.through = nn.Parameter(torch.ones(units))
        """D."""
        self.out = nn.Linear(units, features, bias=False)
        nn.init.uniform_(self.rate.weight, -(self.rank**-0.5), self.rank**-0.5)
        steps = torch.exp(math.log(1e-3) + math.log(100) * torch.rand(units))
        # softplus of the bias is the step at the start.
        self.rate.bias = nn.Parameter(steps + (-torch.expm1(-steps)).log())

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero: the inputs that the convolution still needs, and the state."""
        return {
            "u": torch.zeros(batch_size, self.width - 1, self.units),
            "h": torch.zeros(batch_size, *self.log_decay.shape),
        }

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        u, z = self.into(inputs).chunk(2, dim=-1)
        seen = torch.cat((state["u"].to(u.dtype), u.unsqueeze(1)), dim=1)
        u = silu((seen * self.taps.T).sum(1) + self.shift)
        decay, drive, read = self._selected(u)
        h = decay * state["h"] + drive
        return self._read(h, read, u, z), {"u": seen[:, 1:], "h": h}

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`, by a scan."""
        u, z = self.into(inputs).chunk(2, dim=-1)
        seen = torch.cat((state["u"].to(u.dtype), u), dim=1)
        steps = u.shape[1]
        windows = torch.stack([seen[:, tap : tap + steps] for tap in range(self.width)], dim=-1)
        u = silu((windows * self.taps).sum(-1) + self.shift)
        decay, drive, read = self._selected(u)
        h = scan(decay.flatten(-2), drive.flatten(-2), state["h"].flatten(-2)).view_as(drive)
        return self._read(h, read, u, z), {"u": seen[:, steps:], "h": h[:, -1]}

    def _selected(self, u: Float[Tensor, "*axes units"]) -> tuple[Tensor, Tensor, Tensor]:
        """exp(dt A) and dt B u, ``[*axes units state]``, and C, ``[*axes 1 state]``."""
        rate, into, read = self.select(u).split((self.rank, *(self.log_decay.shape[1],) * 2), dim=-1)
        dt = softplus(full(self.rate(rate))).unsqueeze(-1)
        drive = dt * full(into).unsqueeze(-2) * full(u).unsqueeze(-1)
        return (-dt * self.log_decay.exp()).exp(), drive, full(read).unsqueeze(-2)

    def _read(self, h: Tensor, read: Tensor, u: Tensor, z: Tensor) -> Float[Tensor, "*axes features"]:
        y = (h * read).sum(-1).to(u.dtype) + self.through * u
        return self.out(y * silu(z))


class Mamba(ResidualModel):
    """Mamba (Gu & Dao 2023): a diagonal state space whose step, input and output are chosen by what is read.

    Of the norm of a layer's input come u_t and z_t; u_t passes a causal convolution of a few steps, feature by feature,
    and silu. Then dt_t = softplus(W_dt W_r u_t + b), B_t = W_B u_t, C_t = W_C u_t, and in each of E features

        h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t,    y_t = C_t h_t + D u_t,

    with A negative, and the layer adds W_o (y_t silu(z_t)) to its input. W_r has a rank of R = F/16, rounded up. With F
    features, E = expansion F, N numbers in the state of each and a convolution of K steps a layer has 3 F E + E (K + 1)
    + E (R + 2 N) + E (R + 1) + E N + E weights, and a state of E (N + K - 1) numbers.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        expansion: Features within a layer, in multiples of `hidden_size`.
        state: Numbers in the state of each of these, N.
        convolution: Steps of the convolution, K; 1 leaves only a scale.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("gu2023",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        expansion: int = 2,
        state: Annotated[int, Range(4, 64, log=True)] = 16,
        convolution: int = 4,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, expansion=expansion, state=state, convolution=convolution)
        super().__init__(
            spec,
            lambda: _Selective(hidden_size, expansion * hidden_size, state, convolution),
            hidden_size,
            layers,
            0,
            dropout,
            optimization,
        )

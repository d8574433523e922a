"""Diagonal state space models: a linear differential equation per feature, its all-steps form a convolution.

Sources: Gu, Gupta, Goel & Re (2022), On the parameterization and initialization of diagonal state space models,
NeurIPS; Gu, Goel & Re (2022), Efficiently modeling long sequences with structured state spaces, ICLR.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.models.residual import Mixer, ResidualModel, full

Poles = Literal["lin", "inv", "real"]
Discretisation = Literal["zoh", "bilinear"]


def first_poles(kind: Poles, size: int) -> Complex[Tensor, " poles"]:
    """Where the poles of a feature start.

    S4D-Lin: -1/2 + pi n i, S4D-Inv: -1/2 + i (N/pi) (N/(2 n + 1) - 1), real: -(n + 1).
    N is the size of the state in real numbers, twice the complex poles (equations 10, 9 and 8 of the source).
    """
    n = torch.arange(size, dtype=torch.float32)
    if kind == "real":
        return torch.complex(-(n + 1), torch.zeros(size))
    imaginary = math.pi * n if kind == "lin" else 2 * size / math.pi * (2 * size / (2 * n + 1) - 1)
    return torch.complex(torch.full((size,), -0.5), imaginary)


class _Diagonal(Mixer):
    """A state space of each feature, with a gated linear unit after them.

    Args:
        features: Of inputs and outputs.
        poles: Complex numbers in the state of a feature.
        kind: Where the poles start.
        discretisation: How the differential equation becomes a recurrence.
        dt: Smallest and largest step at the start.
    """

    def __init__(
        self, features: int, poles: int, kind: Poles, discretisation: Discretisation, dt: tuple[float, float]
    ) -> None:
        super().__init__()
        self.poles, self.discretisation = poles, discretisation
        low, high = math.log(dt[0]), math.log(dt[1])
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(features))
        start = first_poles(kind, poles).expand(features, poles)
        self.log_decay = nn.Parameter((-start.real).log().clone())
        """ln -Re A."""
        self.frequency = nn.Parameter(start.imag.clone())
        """Im A."""
        self.out = nn.Parameter(torch.randn(2, features, poles) * math.sqrt(0.5))
        """C, its real and its imaginary part."""
        self.through = nn.Parameter(torch.randn(features))
        """D."""
        self.gate = nn.Linear(features, 2 * features)

    def discrete(self) -> tuple[Complex[Tensor, "features poles"], Complex[Tensor, "features poles"]]:
        """Decay and drive of a step, A' and B', with B = 1."""
        dt = self.log_dt.exp().unsqueeze(1)
        pole = torch.complex(-self.log_decay.exp(), self.frequency)
        if self.discretisation == "zoh":
            decay = (dt * pole).exp()
            return decay, (decay - 1) / pole
        half = dt * pole / 2
        return (1 + half) / (1 - half), dt / (1 - half)

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero."""
        return {"x": torch.zeros(batch_size, len(self.through), self.poles, dtype=torch.complex64)}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        decay, drive = self.discrete()
        x = decay * state["x"] + drive * full(inputs).unsqueeze(-1)
        y = 2 * (torch.complex(*self.out) * x).sum(-1).real
        return self._gated(y, inputs), {"x": x}

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`, by a convolution with the impulse response."""
        steps = inputs.shape[1]
        decay, drive = self.discrete()
        out = torch.complex(*self.out)
        powers = (decay.log().unsqueeze(-1) * torch.arange(steps, device=inputs.device)).exp()
        """A'^k, ``[features poles time]``."""
        with torch.autocast(inputs.device.type, enabled=False):
            u = full(inputs).mT
            response = 2 * ((out * drive).unsqueeze(1) @ powers).squeeze(1).real
            size = 2 * steps
            y = torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(response, size), size)[..., :steps]
            before = decay * state["x"]
            y = y + 2 * ((out * before).unsqueeze(-2) @ powers).squeeze(-2).real
            # The last input has power 0, the first T - 1.
            driven = (powers.flip(-1) @ u.to(powers.dtype).unsqueeze(-1)).squeeze(-1)
            x = powers[..., -1] * before + drive * driven
        return self._gated(y.mT, inputs), {"x": x}

    def _gated(
        self, y: Float[Tensor, "*axes features"], inputs: Float[Tensor, "*axes features"]
    ) -> Float[Tensor, "*axes features"]:
        """The gated linear unit of gelu(y + D u)."""
        y = y.to(inputs.dtype) + self.through * inputs
        return nn.functional.glu(self.gate(nn.functional.gelu(y)), dim=-1)


class S4D(ResidualModel):
    """Diagonal state space model (Gu, Gupta et al. 2022): x' = A x + u of each feature, with a complex diagonal A.

    Discretised with a step dt, x_t = A' x_(t-1) + B' u_t with A' = exp(dt A) and B' = (A' - 1) / A (zero-order hold) or
    A' = (1 + dt A/2) / (1 - dt A/2) and B' = dt / (1 - dt A/2) (bilinear); y_t = 2 Re(C x_t) + D u_t, of N complex
    numbers that each stand for a conjugate pair; and the layer adds glu(W gelu(y_t) + b) to its input before the norm,
    of which u is the norm. Re A stays below 0 as -exp of a weight. With F features a layer has F (4 N + 2) + 2 F (F +
    1) weights and a state of 2 F N real numbers. The source trains A and dt at a lower rate; here all weights have one.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        poles: Complex numbers in the state of a feature, N.
        start: Where A starts: S4D-Lin, S4D-Inv, or real.
        discretisation: Zero-order hold, or bilinear.
        dt: Smallest and largest step at the start, drawn log-uniform.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("gu2022",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        poles: Annotated[int, Range(4, 64, log=True)] = 16,
        start: Poles = "lin",
        discretisation: Discretisation = "zoh",
        dt: tuple[float, float] = (0.001, 0.1),
        feedforward: int = 0,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, poles=poles)
        require_choice(("lin", "inv", "real"), start=start)
        require_choice(("zoh", "bilinear"), discretisation=discretisation)
        if not 0 < dt[0] < dt[1] < math.inf:
            raise UserError(f"dt is {list(dt)}; give the smaller step first, both above 0")
        super().__init__(
            spec,
            lambda: _Diagonal(hidden_size, poles, start, discretisation, dt),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )

"""The linear recurrent unit: a diagonal linear recurrence of complex numbers inside the unit circle.

Source: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu & De (2023), Resurrecting recurrent neural networks for long
sequences, ICML.
"""

import math
from typing import Annotated

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.residual import Mixer, ResidualModel, full
from rnnae_bench.recurrence.scan import scan


class _LRU(Mixer):
    """x_t = lambda * x_(t-1) + gamma * (B u_t), y_t = Re(C x_t) + D * u_t, and then a gated linear unit of gelu(y_t).

    Args:
        features: Of inputs and outputs.
        units: Complex numbers in the state.
        radius: Smallest and largest modulus of lambda at the start, between which its square is uniform.
        phase: Largest argument of lambda at the start, in radians.
    """

    def __init__(self, features: int, units: int, radius: tuple[float, float], phase: float) -> None:
        super().__init__()
        self.units = units
        low, high = radius
        square = low**2 + torch.rand(units) * (high**2 - low**2)
        modulus = square.sqrt().clamp(1e-6, 1 - 1e-6)
        self.log_rate = nn.Parameter((-modulus.log()).log())
        """nu, where |lambda| = exp(-exp(nu))."""
        self.log_phase = nn.Parameter((phase * torch.rand(units)).clamp(min=1e-6).log())
        """theta, where arg lambda = exp(theta)."""
        self.log_gain = nn.Parameter((1 - modulus.square()).sqrt().log())
        """gamma = sqrt(1 - |lambda|^2) at the start, which keeps the state's variance at that of its input."""
        self.into = nn.Parameter(torch.randn(2, units, features) / math.sqrt(2 * features))
        """B, its real and its imaginary part."""
        self.out = nn.Parameter(torch.randn(2, features, units) / math.sqrt(units))
        """C, its real and its imaginary part."""
        self.through = nn.Parameter(torch.randn(features))
        """D, a diagonal."""
        self.gate = nn.Linear(features, 2 * features)

    def eigenvalues(self) -> Complex[Tensor, " units"]:
        """lambda."""
        return torch.polar((-self.log_rate.exp()).exp(), self.log_phase.exp())

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero."""
        return {"x": torch.zeros(batch_size, self.units, dtype=torch.complex64)}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        x = self.eigenvalues() * state["x"] + self._driven(inputs)
        return self._read(x, inputs), {"x": x}

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`, by a scan."""
        drive = self._driven(inputs)
        x = scan(self.eigenvalues().expand_as(drive), drive, state["x"])
        return self._read(x, inputs), {"x": x[..., -1, :]}

    def _driven(self, inputs: Float[Tensor, "*axes features"]) -> Complex[Tensor, "*axes units"]:
        """gamma * (B u_t)."""
        with torch.autocast(inputs.device.type, enabled=False):
            real, imaginary = (full(inputs) @ full(part).mT for part in self.into)
        return torch.complex(real, imaginary) * self.log_gain.exp()

    def _read(
        self, x: Complex[Tensor, "*axes units"], inputs: Float[Tensor, "*axes features"]
    ) -> Float[Tensor, "*axes features"]:
        """The gated linear unit of gelu(Re(C x_t) + D * u_t)."""
        with torch.autocast(inputs.device.type, enabled=False):
            y = x.real @ full(self.out[0]).mT - x.imag @ full(self.out[1]).mT
        y = y.to(inputs.dtype) + self.through * inputs
        return nn.functional.glu(self.gate(nn.functional.gelu(y)), dim=-1)


class LRU(ResidualModel):
    """Linear recurrent units (Orvieto et al. 2023): a complex diagonal recurrence without a nonlinearity through time.

    x_t = lambda * x_(t-1) + gamma * (B u_t) with lambda = exp(-exp(nu) + i exp(theta)), y_t = Re(C x_t) + D * u_t, and
    the layer adds glu(W gelu(y_t) + b) to its input before the norm, of which u_t is the norm. With F features and N
    complex numbers in the state of a layer (2 N real ones), that has 4 F N + 3 N + F + 2 F (F + 1) weights.

    Args:
        spec: The task to serve.
        hidden_size: Features between the layers.
        layers: How many layers.
        state: Complex numbers in the state of one layer.
        radius: Smallest and largest modulus of lambda at the start, within 0 and 1.
        phase: Largest argument of lambda at the start, in radians; 2 pi is all around the circle.
        feedforward: Units of a layer without time after each, in multiples of `hidden_size`; 0 leaves it out.
        dropout: Share of what each layer adds that is zeroed while training.
        optimization: How to train.
    """

    bibtex = ("orvieto2023",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 64,
        layers: int = 2,
        state: Annotated[int, Range(16, 256, log=True)] = 64,
        radius: tuple[float, float] = (0.9, 0.999),
        phase: float = 2 * math.pi,
        feedforward: int = 0,
        dropout: float = 0.0,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, state=state, phase=phase)
        low, high = radius
        if not 0 <= low < high <= 1:
            raise UserError(f"radius is {list(radius)}; give the smaller modulus first, both from 0 to 1")
        super().__init__(
            spec,
            lambda: _LRU(hidden_size, state, (low, high), phase),
            hidden_size,
            layers,
            feedforward,
            dropout,
            optimization,
        )

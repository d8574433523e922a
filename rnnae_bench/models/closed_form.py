"""Closed-form continuous-time networks: what a liquid time-constant network does in between, without a solver.

Source: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl & Rus (2022), Closed-form continuous-time neural
networks, Nature Machine Intelligence 4, 992-1003.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_not_negative, require_positive
from rnnae_bench.models.driven import DrivenModel
from rnnae_bench.models.residual import full


def _scaled_tanh(values: Tensor) -> Tensor:
    """1.7159 tanh(0.666 v), after LeCun, Bottou, Orr & Mueller (1998)."""
    return 1.7159 * torch.tanh(0.666 * values)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "lecun_tanh": _scaled_tanh,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
}


def _uniform(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    bound = (6 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(layer.get_parameter("weight"), -bound, bound)


class CfC(DrivenModel):
    """Closed-form continuous-time network (CfC; Hasani et al. 2022, Nature Machine Intelligence).

    From a backbone v_t = phi(W (x_t, h_(t-1)) + b), of several such layers or none, and affine maps f, g, a, c of v_t,

        default:  h_t = (1 - s) * tanh(f) + s * tanh(g),    s = sigma(a tau + c),
        no_gate:  h_t = tanh(f) + s * tanh(g),
        pure:     h_t = A - A * f * exp(-tau (|w| + |f|)),

    where tau is the time between two steps. With F numbers read into a state of H by L layers of B units, that has
    (F + H + 1) B + (L - 1) (B + 1) B + 4 (B + 1) H weights, or 4 (F + H + 1) H without a backbone; in pure mode the
    last term has 1 in place of 4, and A and w come to it, 2 H weights. The state is h, H numbers.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state.
        mode: Which of the three; pure is the closed form itself, default the one that the paper puts in its place.
        backbone_units: Units of a layer of the backbone.
        backbone_layers: Layers of the backbone; 0 leaves it out.
        activation: The function phi.
        tau: The time between two steps.
        optimization: How to train.
    """

    bibtex = ("hasani2022",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        mode: Literal["default", "no_gate", "pure"] = "default",
        backbone_units: Annotated[int, Range(16, 256, log=True)] = 128,
        backbone_layers: int = 1,
        activation: Literal["lecun_tanh", "tanh", "relu", "silu", "gelu"] = "lecun_tanh",
        tau: float = 1.0,
        optimization: Optimization = Optimization(learning_rate=1e-3),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, backbone_units=backbone_units, tau=tau)
        require_not_negative(backbone_layers=backbone_layers)
        require_choice(("default", "no_gate", "pure"), mode=mode)
        require_choice(tuple(_ACTIVATIONS), activation=activation)
        super().__init__(spec, hidden_size, optimization)
        self.hidden_size, self.mode, self.tau = hidden_size, mode, tau
        self._phi = _ACTIVATIONS[activation]
        maps = 1 if mode == "pure" else 4
        sizes = [*[backbone_units] * backbone_layers, maps * hidden_size]
        self.into = nn.Linear(self.embedding.features, sizes[0])
        self.recurrent = nn.Linear(hidden_size, sizes[0], bias=False)
        self.above = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        """All layers above the first, the last of which gives f, g, a and c."""
        if mode == "pure":
            self.rate = nn.Parameter(torch.zeros(hidden_size))
            """w."""
            self.amplitude = nn.Parameter(torch.ones(hidden_size))
            """A."""
        # Uniform, after Glorot & Bengio (2010): of the first layer as one matrix, of the maps each as its own.
        fan_in = self.embedding.features + hidden_size
        for part in (self.into, self.recurrent):
            _uniform(part, fan_in, backbone_units if backbone_layers else hidden_size)
        for place, layer in enumerate(self.above, start=1):
            _uniform(layer, backbone_units, hidden_size if place == backbone_layers else backbone_units)

    def initial_state(self, batch_size: int) -> Float[Tensor, "batch hidden"]:
        """Zero."""
        return torch.zeros(batch_size, self.hidden_size)

    def drive(self, inputs: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes drive"]:
        """As `DrivenModel.drive`."""
        return full(self.into(inputs))

    def advance(
        self, drive: Float[Tensor, "batch drive"], state: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]:
        """As `DrivenModel.advance`."""
        maps = drive + self.recurrent(state)
        for layer in self.above:
            maps = full(layer(self._phi(maps)))
        h = self._pure(maps) if self.mode == "pure" else self._mixed(maps)
        return h, h

    def _pure(self, f: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch hidden"]:
        return self.amplitude * (1 - f * torch.exp(-self.tau * (self.rate.abs() + f.abs())))

    def _mixed(self, maps: Float[Tensor, "batch maps"]) -> Float[Tensor, "batch hidden"]:
        ends, times = maps.chunk(2, dim=-1)
        f, g = ends.tanh().chunk(2, dim=-1)
        a, c = times.chunk(2, dim=-1)
        s = (a * self.tau + c).sigmoid()
        return f + s * g if self.mode == "no_gate" else torch.lerp(f, g, s)

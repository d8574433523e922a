"""Differential equations of the second and first order, discretised: coupled oscillators, and long expressive memory.

Notation: u_n input, y_n and z_n state, sigma the logistic function, * elementwise product.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.models.driven import DrivenModel
from rnnae_bench.models.residual import full

Pair = tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]]
"""The states y and z."""


class _Discretized(DrivenModel):
    """What the two have in common: a pair of states, of which the head reads y.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in y, and in z.
        drives: Affine maps of the inputs, each of as many numbers.
        optimization: How to train.
    """

    def __init__(self, spec: TaskSpec, hidden_size: int, drives: int, optimization: Optimization) -> None:
        require_positive(hidden_size=hidden_size)
        super().__init__(spec, hidden_size, optimization)
        self.hidden_size = hidden_size
        self.into = nn.Linear(self.embedding.features, drives * hidden_size)

    def initial_state(self, batch_size: int) -> Pair:
        """Zero."""
        return torch.zeros(batch_size, self.hidden_size), torch.zeros(batch_size, self.hidden_size)

    def drive(self, inputs: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes drive"]:
        """As `DrivenModel.drive`."""
        return full(self.into(inputs))


class CoRNN(_Discretized):
    """Coupled oscillatory network (coRNN; Rusch & Mishra 2021, ICLR): nonlinear oscillators that drive each other.

    y'' = tanh(W y + W' y' + V u + b) - gamma y - epsilon y', discretised with step dt (the paper's equation 3):

        z_n = z_(n-1) + dt (tanh(W y_(n-1) + W' z_(n-1) + V u_n + b) - gamma y_(n-1) - epsilon z_m),
        y_n = y_(n-1) + dt z_n,

    with m = n where the damping is implicit, and m = n - 1 where it is explicit, as in the authors' code. The head
    reads y. With F numbers read into H oscillators, that has H (F + 2 H + 1) weights; the state is (y, z), 2 H numbers.

    The authors choose dt, gamma and epsilon task by task, and train for long: their code has 0.06, 66 and 15 for
    adding, with a learning rate of 0.02, and 0.042, 2.7 and 4.7 for sequential MNIST, with 0.0021. The defaults here,
    larger strides of softer oscillators, learn more in the few hundred steps of a smoke test of copy, names or sine;
    adding needs the settings of the authors.

    Args:
        spec: The task to serve.
        hidden_size: Oscillators.
        dt: The step in time.
        gamma: Stiffness: an oscillator alone has the angular frequency sqrt(gamma).
        epsilon: Damping.
        damping: Whether the damping looks at the new velocity or at the old one.
        optimization: How to train.
    """

    bibtex = ("rusch2021",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        dt: Annotated[float, Range(0.01, 0.5, log=True)] = 0.3,
        gamma: Annotated[float, Range(0.1, 100.0, log=True)] = 1.0,
        epsilon: Annotated[float, Range(0.1, 20.0, log=True)] = 1.0,
        damping: Literal["implicit", "explicit"] = "implicit",
        optimization: Optimization = Optimization(learning_rate=1e-2),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(dt=dt, gamma=gamma)
        require_not_negative(epsilon=epsilon)
        require_choice(("implicit", "explicit"), damping=damping)
        # z_n = keep z_(n-1) + rate (tanh(...) - gamma y_(n-1)).
        implicit = damping == "implicit"
        self._keep = 1 / (1 + dt * epsilon) if implicit else 1 - dt * epsilon
        self._rate = dt * self._keep if implicit else dt
        self._dt, self._gamma = dt, gamma
        if not dt * self._rate * gamma <= 2 * (1 + self._keep) or self._keep < -1:
            raise UserError(
                f"with dt {dt}, gamma {gamma} and epsilon {epsilon} the oscillators grow without bound even undriven; "
                "make dt smaller"
            )
        super().__init__(spec, hidden_size, 1, optimization)
        self.coupling = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        """W and W', side by side."""
        bound = (self.embedding.features + 2 * hidden_size) ** -0.5
        for weight in (*self.into.parameters(), *self.coupling.parameters()):
            nn.init.uniform_(weight, -bound, bound)

    def advance(self, drive: Float[Tensor, "batch drive"], state: Pair) -> tuple[Float[Tensor, "batch hidden"], Pair]:
        """As `DrivenModel.advance`."""
        y, z = state
        force = torch.tanh(drive + self.coupling(torch.cat(state, dim=-1)))
        z = (self._keep * z).add(force, alpha=self._rate).sub(y, alpha=self._rate * self._gamma)
        y = y.add(z, alpha=self._dt)
        return y, (y, z)


class LEM(_Discretized):
    """Long expressive memory (LEM; Rusch, Mishra, Erichson & Mahoney 2022, ICLR): two states, each at learned paces.

    The paper's equation 3, with steps of time for each number, between 0 and dt:

        d_n = dt sigma(W_1 y_(n-1) + V_1 u_n + b_1),    e_n = dt sigma(W_2 y_(n-1) + V_2 u_n + b_2),
        z_n = (1 - d_n) * z_(n-1) + d_n * tanh(W_z y_(n-1) + V_z u_n + b_z),
        y_n = (1 - e_n) * y_(n-1) + e_n * tanh(W_y z_n + V_y u_n + b_y).

    The head reads y. With F numbers read into a y of H, that has 4 H (F + H + 1) weights; the state is (y, z), 2 H
    numbers.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in y, and in z.
        dt: The longest step in time, at most 1; short ones remember for longer (the authors take 0.0242 for the adding
            problem with 10000 steps).
        optimization: How to train.
    """

    bibtex = ("rusch2022",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        dt: Annotated[float, Range(0.01, 1.0, log=True)] = 1.0,
        optimization: Optimization = Optimization(learning_rate=1e-2),  # noqa: B008 (frozen)
    ) -> None:
        if not 0 < dt <= 1:
            raise UserError(f"dt is {dt}; it must be above 0 and at most 1, so that states stay between -1 and 1")
        super().__init__(spec, hidden_size, 4, optimization)
        self._dt = dt
        self.from_y = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        """W_1, W_2 and W_z."""
        self.from_z = nn.Linear(hidden_size, hidden_size, bias=False)
        """W_y."""
        bound = hidden_size**-0.5
        for part in (self.into, self.from_y, self.from_z):
            for weight in part.parameters():
                nn.init.uniform_(weight, -bound, bound)

    def advance(self, drive: Float[Tensor, "batch drive"], state: Pair) -> tuple[Float[Tensor, "batch hidden"], Pair]:
        """As `DrivenModel.advance`."""
        y, z = state
        of_y, of_z = drive.split([3 * self.hidden_size, self.hidden_size], dim=-1)
        paces, target = (of_y + self.from_y(y)).split([2 * self.hidden_size, self.hidden_size], dim=-1)
        d, e = (self._dt * paces.sigmoid()).chunk(2, dim=-1)
        z = torch.lerp(z, target.tanh(), d)
        y = torch.lerp(y, (of_z + self.from_z(z)).tanh(), e)
        return y, (y, z)

"""The echo state network: a fixed random recurrence, of which the readout alone is fitted.

Sources: Jaeger (2001), The "echo state" approach to analysing and training recurrent neural networks, GMD report 148;
Lukosevicius (2012), A practical guide to applying echo state networks; cycles: Rodan & Tino (2011), Minimum complexity
echo state network, IEEE Transactions on Neural Networks 22(1).
"""

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.models.driven import DrivenModel
from rnnae_bench.models.residual import full
from rnnae_bench.models.ridge import LARGEST, RidgeModel, inputs_of

Topology = Literal["random", "orthogonal", "cycle"]


class EchoStateNetwork(RidgeModel, DrivenModel):
    """Echo state network (Jaeger 2001): x_t = (1 - a) x_(t-1) + a f(W_in u_t + W x_(t-1) + b), fixed; fitted is W_out.

    The answer is W_out (x_t, u_t, 1), by ridge regression. W is scaled to a spectral radius; W_in is uniform within
    +-input_scale, b within +-bias. With f the identity and W orthogonal or a cycle its linear memory capacity comes
    near the number of its units, the most there can be (Jaeger 2001, Short term memory in echo state networks). Fitted
    are (N + F + 1) numbers an output, with N units and F inputs; the state is x_t, N numbers.

    Args:
        spec: The task to serve.
        hidden_size: Units, N.
        radius: Largest modulus of the eigenvalues of W.
        leak: The rate a, above 0 and at most 1.
        input_scale: Bound of the numbers of W_in.
        bias: Bound of the numbers of b.
        topology: Of W: ``random`` with normal numbers, ``orthogonal``, or a ``cycle`` of the units.
        density: Share of the numbers of a random W that are not 0.
        activation: The function f.
        direct: Whether the readout sees u_t too.
        ridge: Penalty, over the variance of a number that is read; None: of a grid the best on the validation set.
        steps: How many counted steps are fitted to at most.
    """

    bibtex = ("jaeger2001", "jaeger2001memory")

    recurrent: Tensor
    into: Tensor
    bias: Tensor

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(50, 800, log=True)] = 300,
        radius: Annotated[float, Range(0.3, 1.3)] = 0.9,
        leak: Annotated[float, Range(0.05, 1.0, log=True)] = 1.0,
        input_scale: Annotated[float, Range(0.01, 2.0, log=True)] = 0.5,
        bias: float = 0.1,
        topology: Topology = "random",
        density: float = 0.1,
        activation: Literal["tanh", "identity"] = "tanh",
        direct: bool = True,
        ridge: float | None = None,
        steps: int = 100_000,
    ) -> None:
        require_positive(hidden_size=hidden_size, input_scale=input_scale)
        require_not_negative(radius=radius, bias=bias)
        require_choice(("random", "orthogonal", "cycle"), topology=topology)
        require_choice(("tanh", "identity"), activation=activation)
        for option, value in {"leak": leak, "density": density}.items():
            if not 0 < value <= 1:
                raise UserError(f"{option} is {value}; it must be above 0 and at most 1")
        super().__init__(spec, hidden_size + (inputs_of(spec) if direct else 0), ridge, steps)
        self.leak, self.activation, self.direct = leak, activation, direct
        self.register_buffer("recurrent", radius * recurrent_weights(hidden_size, topology, density))
        self.register_buffer("into", input_scale * (2 * torch.rand(hidden_size, self.embedding.features) - 1))
        self.register_buffer("bias", bias * (2 * torch.rand(hidden_size) - 1))

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses more units, and inputs that are read beside them, than can be fitted."""
        reason = super().supports(spec, **hyperparameters)
        if reason is not None:
            return reason
        beside = inputs_of(spec) if hyperparameters.get("direct", True) else 0
        read = hyperparameters.get("hidden_size", 300) + beside
        if read > LARGEST:
            return f"it would read {read} numbers a step, and at most {LARGEST} can be fitted; lower hidden_size"
        return None

    @property
    def transient(self) -> int:
        """Half of a row: a free run goes on from the end of one, where the state is that of its inputs."""
        return self.spec.sequence.length // 2

    def initial_state(self, batch_size: int) -> Float[Tensor, "batch hidden"]:
        """Zero."""
        return torch.zeros(batch_size, len(self.bias))

    def drive(self, inputs: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes drive"]:
        """W_in u + b, and u beside it where the readout sees it."""
        inputs = full(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            drive = inputs @ self.into.to(inputs).T + self.bias.to(inputs)
        return torch.cat((drive, inputs), dim=-1) if self.direct else drive

    def advance(
        self, drive: Float[Tensor, "batch drive"], state: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch read"], Float[Tensor, "batch hidden"]]:
        """What is read, and the state after the step, in the precision of the drive."""
        driven, inputs = drive[:, : len(self.bias)], drive[:, len(self.bias) :]
        with torch.autocast(drive.device.type, enabled=False):
            driven = driven + state.to(drive) @ self.recurrent.to(drive).T
        new = (1 - self.leak) * state + self.leak * (driven.tanh() if self.activation == "tanh" else driven)
        return torch.cat((new, inputs), dim=1), new


def recurrent_weights(size: int, topology: Topology, density: float) -> Float[Tensor, "size size"]:
    """Recurrent weights of spectral radius 1."""
    if topology == "cycle":
        return torch.eye(size).roll(1, dims=0)
    weights = torch.randn(size, size)
    if topology == "orthogonal":
        factor, triangle = torch.linalg.qr(weights)
        return factor * triangle.diagonal().sign()
    weights = weights * (torch.rand(size, size) < density)
    largest = torch.linalg.eigvals(weights).abs().max()
    return weights / torch.where(largest > 0, largest, 1.0)

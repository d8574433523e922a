"""The echo state network: a fixed random recurrence, of which the readout alone is fitted.

Sources: Jaeger (2001), The "echo state" approach to analysing and training recurrent neural networks, GMD report 148;
Lukosevicius (2012), A practical guide to applying echo state networks; cycles: Rodan & Tino (2011), Minimum complexity
echo state network, IEEE Transactions on Neural Networks 22(1).
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.models.ridge import RidgeModel, inputs_of

Topology = Literal["random", "orthogonal", "cycle"]


class EchoStateNetwork(RidgeModel):
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
        ridge: Penalty, over the mean square of a number that is read; None: of a grid the best on the validation set.
        steps: How many counted steps are fitted to at most.
    """

    recurrent: Tensor
    into: Tensor
    bias: Tensor

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(50, 1000, log=True)] = 300,
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

    def initial_state(self, batch_size: int) -> Float[Tensor, "batch hidden"]:
        """Zero."""
        return torch.zeros(batch_size, len(self.bias))

    def step(
        self, inputs: Float[Tensor, "batch features"], state: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch read"], Float[Tensor, "batch hidden"]]:
        """What is read, and the state after the step."""
        into, recurrent, bias = (one.to(inputs.dtype) for one in (self.into, self.recurrent, self.bias))
        drive = inputs @ into.T + state @ recurrent.T + bias
        new = (1 - self.leak) * state + self.leak * (drive.tanh() if self.activation == "tanh" else drive)
        return torch.cat((new, inputs), dim=1) if self.direct else new, new


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

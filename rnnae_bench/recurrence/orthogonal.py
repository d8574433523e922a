"""A recurrence whose matrix is orthogonal whatever its weights are: the exponential of a skew-symmetric matrix.

h_t = modrelu(W x_t + B h_(t-1)), B = exp(A), A = rate * (S - S^T), where the upper triangle of S is trained and
modrelu(a) = sign(a) * relu(|a| + b) (Arjovsky, Shah & Bengio 2016, Unitary evolution recurrent neural networks, ICML).
It is the vanilla recurrence (`rnnae_bench.recurrence.vanilla`) on a matrix that is computed once a forward pass.

Source: Lezcano-Casado & Martinez-Rubio (2019), Cheap orthogonal constraints in neural networks, ICML, arXiv:1901.08428.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.recurrence.reference import Weights
from rnnae_bench.recurrence.vanilla import RNN

Rotations = Literal["henaff", "cayley"]
"""How the angles of the plane rotations that A starts from are drawn."""


def rotations(hidden_size: int, how: Rotations) -> Float[Tensor, " planes"]:
    """The angles of a block-diagonal A: each turns a plane of two coordinates.

    - ``henaff``: uniform in [-pi, pi] (Henaff, Szlam & LeCun 2016).
    - ``cayley``: -sqrt((1 - cos v) / (1 + cos v)) with v uniform in [0, pi / 2] (Helfrich, Willmott & Ye 2018).
    """
    planes = hidden_size // 2
    if how == "henaff":
        return torch.empty(planes).uniform_(-math.pi, math.pi)
    v = torch.empty(planes).uniform_(0.0, math.pi / 2)
    return -((1 - v.cos()) / (1 + v.cos())).sqrt()


class _Exponential(torch.autograd.Function):
    """exp(A) of square matrices, in double precision, since its rounding is what keeps it from being orthogonal.

    The gradient is in the format of A: L(A^T, G), the derivative of the exponential at A^T along G, which is the upper
    right block of exp([[A^T, G], [0, A^T]]) (Higham 2008, Functions of matrices, eq. 3.16). It is linear in G, which is
    brought to norm 1 so that it does not decide how the exponential is computed.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.linalg.matrix_exp(a.double()).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        size = torch.linalg.matrix_norm(gradient, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
        above = torch.cat((a.mT, gradient / size), dim=-1)
        below = torch.cat((torch.zeros_like(a), a.mT), dim=-1)
        n = a.shape[-1]
        return size * torch.linalg.matrix_exp(torch.cat((above, below), dim=-2))[..., :n, n:]


class OrthogonalRNN(RNN):
    """Recurrences with an orthogonal matrix.

    Args:
        input_size: Features of the inputs.
        hidden_size: Numbers in the state of one layer and direction.
        rate: A is this many times its weights. Under Adam, whose steps don't depend on the gradient's scale, A then
            learns at `rate` times the learning rate of all else.
        start: How A is drawn.
        options: As of `Stack`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        rate: float = 0.1,
        start: Rotations = "henaff",
        **options: object,
    ) -> None:
        require_positive(rate=rate)
        require_choice(("henaff", "cayley"), start=start)
        self.rate = rate
        super().__init__(input_size, hidden_size, activation="modrelu", in_full=True, **options)
        if self.recurrent_dropout:
            raise UserError(
                f"recurrent_dropout is {self.recurrent_dropout}, and a matrix with entries left out is not orthogonal; "
                "set it to 0"
            )
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if name.startswith("skew"):
                    for one in weight.unbind() if self.models else (weight,):
                        one.copy_(self._flat(rotations(hidden_size, start)))

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """W, the upper triangle of S, and the bias of modrelu."""
        n = self.hidden_size
        return {"weight_ih": (n, features), "skew": (n * (n - 1) // 2,), "bias": (n,)}

    def weights_of(self, name: str) -> Weights:
        """As the vanilla kernel takes them, with B for W_hh."""
        own = self.own_weights(name)
        return Weights(own["weight_ih"], self.orthogonal(own["skew"]), torch.zeros_like(own["bias"]), own["bias"])

    def orthogonal(self, skew: Float[Tensor, "*model entries"]) -> Float[Tensor, "*model hidden hidden"]:
        """B = exp(A)."""
        n = self.hidden_size
        with torch.autocast(skew.device.type, enabled=False):
            upper = skew.new_zeros(*skew.shape[:-1], n, n)
            row, column = torch.triu_indices(n, n, offset=1, device=skew.device)
            upper[..., row, column] = self.rate * skew
            matrix: Tensor = _Exponential.apply(upper - upper.mT)
            return matrix

    def _flat(self, angles: Float[Tensor, " planes"]) -> Float[Tensor, " entries"]:
        """The upper triangle of S whose A turns the planes (0, 1), (2, 3), ... by these angles."""
        n = self.hidden_size
        upper = torch.zeros(n, n)
        even = torch.arange(0, n - 1, 2)
        upper[even, even + 1] = angles / self.rate
        return upper[tuple(torch.triu_indices(n, n, offset=1))]

"""Where a backward pass leaves the gradients of the loss with respect to the states."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass
class Deltas:
    """The total gradient that reached each state, once the backward pass is through.

    delta_t = dL/dh_t counts all ways from h_t to the loss: through the output of step t and through all later
    steps.
    """

    h: Float[Tensor, "*model time batch hidden"] | None = None
    """dL/dh_t."""
    c: Float[Tensor, "*model time batch hidden"] | None = None
    """dL/dc_t, of an LSTM."""

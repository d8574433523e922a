"""A layer whose state is a matrix a head, written to with keys and values and read with queries.

Of the inputs x_t it makes queries, keys and values, W_q x_t, W_k x_t and W_v x_t, H heads side by side; it adds
W_o [norm(o_t)] of what the heads read, o_t, to its input. `norm` makes the mean square of a head's values 1 (Zhang &
Sennrich 2019), which leaves the scale of a linear memory free. What it does at a step, subclasses say.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.errors import require_positive
from rnnae_bench.models.residual import Mixer, full


class MatrixMemory(Mixer):
    """Queries, keys, values and gates by heads; the state; the way out.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
    """

    def __init__(self, features: int, heads: int, keys: int, values: int) -> None:
        require_positive(heads=heads, keys=keys, values=values)
        super().__init__()
        self.heads, self.keys, self.values = heads, keys, values
        self.query = nn.Linear(features, heads * keys, bias=False)
        self.key = nn.Linear(features, heads * keys, bias=False)
        self.value = nn.Linear(features, heads * values, bias=False)
        self.norm = nn.RMSNorm(values, eps=1e-5)
        self.write = nn.Linear(heads * values, features, bias=False)

    @abstractmethod
    def written(self, inputs: Float[Tensor, "*axes features"]) -> Sequence[Float[Tensor, "*axes heads _"]]:
        """Queries, keys, values and gates of each step, in single precision at least."""

    @abstractmethod
    def one(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the heads read at one step, and the state after it.

        Args:
            written: Queries, keys, values and gates, ``[batch heads units]``.
            state: The one before.
        """

    @abstractmethod
    def all(self, written: Sequence[Tensor], state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `one`, for all steps, ``[batch heads time units]``, and the state after the last."""

    def gated(
        self, read: Float[Tensor, "*axes heads values"], inputs: Float[Tensor, "*axes features"]
    ) -> Float[Tensor, "*axes heads values"]:
        """What is let out of what the heads read: all of it, unless a subclass has a gate."""
        return read

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """An empty memory."""
        return {"S": torch.zeros(batch_size, self.heads, self.keys, self.values)}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        written = self.written(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            read, state = self.one(written, state)
        return self._out(read, inputs), state

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`."""
        written = [part.transpose(1, 2) for part in self.written(inputs)]
        with torch.autocast(inputs.device.type, enabled=False):
            read, state = self.all(written, state)
        return self._out(read.transpose(1, 2), inputs), state

    def by_heads(self, part: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes heads units"]:
        """A map of the inputs taken apart into its heads, in single precision at least."""
        return full(part).unflatten(-1, (self.heads, -1))

    def _out(self, read: Float[Tensor, "*axes heads values"], inputs: Float[Tensor, "*axes features"]) -> Tensor:
        return self.write(self.gated(self.norm(read.to(self.norm.weight.dtype)), inputs).flatten(-2))

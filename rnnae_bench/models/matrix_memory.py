"""A layer whose state is a matrix a head, written to with keys and values and read with queries.

Of the inputs x_t it makes queries, keys and values, W_q x_t, W_k x_t and W_v x_t, H heads side by side; it adds
W_o [norm(o_t)] of what the heads read, o_t, to its input. `norm` makes the mean square of a head's values 1 (Zhang &
Sennrich 2019), which leaves the scale of a linear memory free. What it does at a step, subclasses say.

With a short convolution, queries and keys are made of silu(b + sum_(j<C) w_j * x_(t-j)) in place of x_t (Fu, Dao et al.
2023, Hungry hungry hippos): a value is then written under the key that came before it, in one layer.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.residual import Mixer, full


class MatrixMemory(Mixer):
    """Queries, keys, values and gates by heads; the state; the way out.

    Args:
        features: Of inputs and outputs.
        heads: How many.
        keys: Numbers of a head's keys and queries.
        values: Numbers of a head's values.
        convolution: Steps that a query or a key is made of, 2 or more; 0 is without a convolution.
    """

    def __init__(self, features: int, heads: int, keys: int, values: int, convolution: int) -> None:
        require_positive(heads=heads, keys=keys, values=values)
        if convolution < 0 or convolution == 1:
            raise UserError(f"convolution is {convolution}; it must be 2 steps or more, or 0 to be left out")
        super().__init__()
        self.heads, self.keys, self.values = heads, keys, values
        self.query = nn.Linear(features, heads * keys, bias=False)
        self.key = nn.Linear(features, heads * keys, bias=False)
        self.value = nn.Linear(features, heads * values, bias=False)
        self.norm = nn.RMSNorm(values, eps=1e-5)
        self.write = nn.Linear(heads * values, features, bias=False)
        self.convolution = _ShortConvolution(features, convolution) if convolution else None

    @abstractmethod
    def written(
        self, inputs: Float[Tensor, "*axes features"], seen: Float[Tensor, "*axes features"]
    ) -> Sequence[Float[Tensor, "*axes heads _"]]:
        """Queries, keys, values and gates of each step, in single precision at least.

        Args:
            inputs: What values and gates are made of.
            seen: What queries and keys are made of.
        """

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

    def empty(self, batch_size: int) -> dict[str, Tensor]:
        """The memory before the first step."""
        return {"S": torch.zeros(batch_size, self.heads, self.keys, self.values)}

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """An empty memory and, with a convolution, inputs of zero before the first."""
        window = {} if self.convolution is None else {"window": self.convolution.window(batch_size)}
        return {**self.empty(batch_size), **window}

    def step(
        self, inputs: Float[Tensor, "batch features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch features"], dict[str, Tensor]]:
        """As `Mixer.step`."""
        seen, window = self._seen(inputs.unsqueeze(1), state)
        written = self.written(inputs, seen.squeeze(1))
        with torch.autocast(inputs.device.type, enabled=False):
            read, memory = self.one(written, state)
        return self._out(read, inputs), {**memory, **window}

    def forward(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """As `Mixer.forward`."""
        seen, window = self._seen(inputs, state)
        written = [part.transpose(1, 2) for part in self.written(inputs, seen)]
        with torch.autocast(inputs.device.type, enabled=False):
            read, memory = self.all(written, state)
        return self._out(read.transpose(1, 2), inputs), {**memory, **window}

    def _seen(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch time features"], dict[str, Tensor]]:
        """What queries and keys are made of, and the inputs that the next steps see."""
        if self.convolution is None:
            return inputs, {}
        seen, window = self.convolution(inputs, state["window"])
        return seen, {"window": window}

    def by_heads(self, part: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes heads units"]:
        """A map of the inputs taken apart into its heads, in single precision at least."""
        return full(part).unflatten(-1, (self.heads, -1))

    def _out(self, read: Float[Tensor, "*axes heads values"], inputs: Float[Tensor, "*axes features"]) -> Tensor:
        return self.write(self.gated(self.norm(read.to(self.norm.weight.dtype)), inputs).flatten(-2))


class _ShortConvolution(nn.Module):
    """silu(b + sum_(j<C) w_j * x_(t-j)), feature by feature.

    Args:
        features: Of inputs and outputs.
        size: C.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        bound = size**-0.5
        self.weight = nn.Parameter(torch.empty(size, features).uniform_(-bound, bound))
        """From the oldest of the inputs to the newest."""
        self.bias = nn.Parameter(torch.zeros(features))

    def window(self, batch_size: int) -> Float[Tensor, "batch before features"]:
        """Inputs of zero."""
        size, features = self.weight.shape
        return torch.zeros(batch_size, size - 1, features)

    def forward(
        self, inputs: Float[Tensor, "batch time features"], window: Float[Tensor, "batch before features"]
    ) -> tuple[Float[Tensor, "batch time features"], Float[Tensor, "batch before features"]]:
        """The outputs of all steps, and the last inputs.

        Args:
            inputs: x_t.
            window: The C - 1 inputs before them.
        """
        steps = inputs.shape[1]
        longer = torch.cat((window, full(inputs)), dim=1)
        mixed = sum(weight * longer[:, place : place + steps] for place, weight in enumerate(self.weight))
        return silu(mixed + self.bias), longer[:, steps:]

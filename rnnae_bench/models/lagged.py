"""Models of the last inputs, fitted by ridge regression: linear, and with products of them.

Both read (u_t, u_(t-skip), ..., u_(t-(taps-1) skip)); before the beginning all is 0. Of these numbers the second kind
takes all monomials up to a degree.
"""

import math
from itertools import combinations_with_replacement
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.ridge import LARGEST, RidgeModel, inputs_of


def monomials(numbers: int, degree: int) -> int:
    """How many products of some numbers there are, up to a degree and without the empty one.

    >>> monomials(6, 2)
    27
    """
    return math.comb(numbers + degree, degree) - 1


class _Lagged(RidgeModel):
    """What the two have in common.

    Args:
        spec: The task to serve.
        taps: Inputs that are read.
        skip: Steps between two of them.
        degree: Of the monomials.
        ridge: As for `RidgeModel`.
        steps: The same.
    """

    def __init__(self, spec: TaskSpec, taps: int, skip: int, degree: int, ridge: float | None, steps: int) -> None:
        require_positive(taps=taps, skip=skip, degree=degree)
        numbers = taps * inputs_of(spec)
        super().__init__(spec, monomials(numbers, degree), ridge, steps)
        self.taps, self.skip, self.degree = taps, skip, degree
        for power in range(2, degree + 1):
            places = torch.tensor([*combinations_with_replacement(range(numbers), power)], device="cpu")
            self.register_buffer(f"places_{power}", places, persistent=False)

    @property
    def transient(self) -> int:
        """Steps before the first that looks back on inputs alone."""
        return (self.taps - 1) * self.skip

    def initial_state(self, batch_size: int) -> Float[Tensor, "batch past features"]:
        """The inputs before the first, which are zero."""
        return torch.zeros(batch_size, (self.taps - 1) * self.skip, self.embedding.features)

    def step(
        self, inputs: Float[Tensor, "batch features"], state: Float[Tensor, "batch past features"]
    ) -> tuple[Float[Tensor, "batch read"], Float[Tensor, "batch past features"]]:
        """What is read, and the inputs that are kept."""
        seen = torch.cat((state, inputs.unsqueeze(1)), dim=1)
        read = self._monomials(seen.flip(1)[:, :: self.skip].flatten(1))
        return read, seen[:, 1:]

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time read"]:
        """What is read at every step, at once."""
        past = self.initial_state(len(inputs)).to(inputs)
        seen = torch.cat((past, inputs), dim=1)
        lagged = [seen[:, len(past[0]) - tap * self.skip :][:, : inputs.shape[1]] for tap in range(self.taps)]
        return self._monomials(torch.cat(lagged, dim=-1))

    def _monomials(self, numbers: Float[Tensor, "*axes numbers"]) -> Float[Tensor, "*axes read"]:
        found = [numbers]
        for power in range(2, self.degree + 1):
            places: Tensor = getattr(self, f"places_{power}")
            found.append(numbers[..., places].prod(-1))
        return torch.cat(found, dim=-1)


class LinearModel(_Lagged):
    """Linear model of the last inputs, by ridge regression: y_t = sum_k A_k u_(t-k) + b.

    An answer after the last step is then linear in the whole sequence; one at every step is that of a linear filter. Of
    symbols u is one-hot, and for classes y_t are logits. With F inputs it has (taps F + 1) weights an output; its state
    is the inputs that it still needs, (taps - 1) F numbers.

    Args:
        spec: The task to serve.
        taps: How many inputs it reads; None: the whole sequence for one answer, and 20 for one at every step.
        ridge: Penalty, over the variance of a number that is read; None: of a grid the best on the validation set.
        steps: How many counted steps are fitted to at most.
    """

    bibtex = ("hoerl1970",)

    def __init__(
        self,
        spec: TaskSpec,
        taps: Annotated[int | None, Range(1, 200, log=True)] = None,
        ridge: float | None = None,
        steps: int = 100_000,
    ) -> None:
        length = spec.sequence.length
        if taps is None:
            taps = length if spec.predicts == "last step" else min(20, length)
            taps = min(taps, max(1, LARGEST // inputs_of(spec)))
        super().__init__(spec, taps, 1, 1, ridge, steps)


class NextGenerationReservoir(_Lagged):
    """Next-generation reservoir computing (Gauthier, Bollt, Griffith & Barbosa 2021): a polynomial of the last inputs.

    The answer is linear in all monomials, up to the degree, of u_t, u_(t-skip), ..., u_(t-(taps-1) skip), by ridge
    regression; a nonlinear vector autoregression. With n = taps F numbers there are C(n + degree, degree) weights an
    output; its state is the inputs that it still needs, (taps - 1) skip F numbers. Source: Nature Communications 12,
    5564, equations 5 to 7, where Lorenz's system takes two taps, degree 2 and a ridge of 2.5e-6.

    Args:
        spec: The task to serve.
        taps: How many inputs it reads.
        skip: Steps between two of them.
        degree: Of the polynomial.
        ridge: Penalty, over the variance of a number that is read; None: of a grid the best on the validation set.
        steps: How many counted steps are fitted to at most.
    """

    bibtex = ("gauthier2021",)

    def __init__(
        self,
        spec: TaskSpec,
        taps: Annotated[int, Range(1, 10)] = 2,
        skip: int = 1,
        degree: Annotated[int, Range(1, 4)] = 2,
        ridge: float | None = None,
        steps: int = 100_000,
    ) -> None:
        if degree > 6:
            raise UserError(f"degree is {degree}; it must be at most 6")
        super().__init__(spec, taps, skip, degree, ridge, steps)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses where there would be more monomials than can be fitted."""
        reason = super().supports(spec, **hyperparameters)
        taps, degree = hyperparameters.get("taps", 2), hyperparameters.get("degree", 2)
        features = monomials(taps * inputs_of(spec), degree)
        if reason is None and features > LARGEST:
            return (
                f"it would read {features} products a step, and at most {LARGEST} can be fitted; lower taps or degree"
            )
        return reason

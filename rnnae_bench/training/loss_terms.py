"""What is minimised: one number, or named terms whose sum is."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from rnnae_bench.errors import UserError

Loss = Tensor | Mapping[str, Tensor]
"""What a training minimises: a number ``[]``, or numbers by name, whose sum is minimised.

Each is a mean over the rows of the batch, so that those of equal shards (on several devices, of accumulated batches)
average to that of the whole.
"""


class Minimised(NamedTuple):
    """A loss in its parts."""

    total: Tensor
    """What is backpropagated: the loss, or the sum of its terms."""
    terms: dict[str, Tensor]
    """The named terms, detached; empty where the loss is one number."""


def minimised(loss: Any, source: str, shape: tuple[int, ...] = ()) -> Minimised:
    """A loss in its parts, once it is found to be one.

    Args:
        loss: A `Loss`, as somebody's code gave it.
        source: The class and the method that gave it, as ``MyTask.loss``.
        shape: Of the loss and of each term; ``[K]`` for K models trained as one.

    Raises:
        UserError: it is none: a term is not a scalar, or has no name that a column can have.

    >>> found = minimised({"reconstruction": torch.tensor(2.0), "kl": torch.tensor(0.5)}, "MyVAE.training_loss")
    >>> found.total, list(found.terms)
    (tensor(2.5000), ['reconstruction', 'kl'])
    """
    if isinstance(loss, Tensor):
        return Minimised(_scalar(loss, f"{source} gave", shape), {})
    if not isinstance(loss, Mapping) or not loss:
        raise UserError(f"{source} gave {_shown(loss)}; give a scalar tensor, or a dict of some by name")
    for name in loss:
        if not (isinstance(name, str) and name.isidentifier()):
            raise UserError(
                f"{source} gave a term named {name!r}; name each by a word of letters, digits and _, as 'kl'"
            )
    terms = {name: _scalar(term, f"{source} gave as '{name}'", shape) for name, term in loss.items()}
    return Minimised(torch.stack(list(terms.values())).sum(dim=0), {name: one.detach() for name, one in terms.items()})


def is_scalar(loss: Any, shape: tuple[int, ...] = ()) -> TypeGuard[Tensor]:
    """Whether a loss is one real number, or one for each of K models trained as one, where the shape is ``[K]``."""
    return isinstance(loss, Tensor) and loss.shape == shape and loss.is_floating_point()


def _scalar(term: Any, given: str, shape: tuple[int, ...]) -> Tensor:
    if is_scalar(term, shape):
        return term
    if isinstance(term, Tensor) and term.is_floating_point() and term.numel() == 1 and not shape:
        return term.reshape(())
    raise UserError(f"{given} {_shown(term)}; give a scalar tensor, the mean over the rows of the batch")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return "an empty dict" if value == {} else f"a value of type {type(value).__name__}"


class SameTerms:
    """Sees that a loss has the same terms at every step."""

    def __init__(self) -> None:
        self._names: frozenset[str] | None = None

    @property
    def none(self) -> bool:
        """Whether the loss has had no named terms so far, at one step at least."""
        return self._names == frozenset()

    def require(self, terms: Mapping[str, Any], source: str) -> None:
        """Raise `UserError` where these are other terms than the first time."""
        if self._names is None:
            self._names = frozenset(terms)
        elif terms.keys() != self._names:
            before, now = (", ".join(sorted(names)) or "none" for names in (self._names, terms))
            raise UserError(f"{source} gave the terms {now} at one step and {before} before; let them be the same")

"""What is asked of a grammar's predictor beside its cross-entropy."""

from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.metrics import counted_steps
from rnnae_bench.metrics.mean import Mean
from rnnae_tasks.reber.grammar import CHANCES, REPEATING, follow


class RepeatedSymbol(Mean):
    """Share of the strings whose second symbol is named where it comes again, one before the last."""

    def update(self, prediction: Float[Tensor, "batch time symbol"], batch: Batch) -> None:
        """Add a batch of logits."""
        self.add((prediction.argmax(-1) == batch.targets).double(), repeating(batch))


class LegalSets(Mean):
    """Share of rows at every step of which the symbols above a chance are those that may come, and no others.

    Args:
        threshold: The chance; a symbol that may come has 1/2 or 1.
    """

    def __init__(self, threshold: float = 0.25) -> None:
        super().__init__()
        self.threshold = threshold

    def update(self, prediction: Float[Tensor, "batch time symbol"], batch: Batch) -> None:
        """Add a batch of logits."""
        self.add(legal(prediction, batch, self.threshold).double(), None)


def repeating(batch: Batch) -> Bool[Tensor, "batch time"]:
    """The steps at which a string's second symbol must come next."""
    states, counted = follow(batch.inputs), counted_steps(batch)
    found = (states == REPEATING[0]) | (states == REPEATING[1])
    return found if counted is None else found & counted


def legal(
    prediction: Float[Tensor, "batch time symbol"], batch: Batch, threshold: float = 0.25
) -> Bool[Tensor, " batch"]:
    """Whether the symbols above the threshold are at every step of a row those that may come."""
    may_come = CHANCES.to(prediction.device)[follow(batch.inputs)] > 0
    right = ((prediction.softmax(-1) > threshold) == may_come).all(-1)
    counted = counted_steps(batch)
    return (right if counted is None else right | ~counted).all(-1)

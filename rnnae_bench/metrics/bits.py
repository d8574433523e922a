"""Cross-entropy as a length of code: what a symbol costs in bits."""

import math

from jaxtyping import Float
from torch import Tensor

from rnnae_bench.metrics.steps import CrossEntropy


class BitsPerSymbol(CrossEntropy):
    """Mean cross-entropy in bits: the length of code that a symbol takes, where a model's chances drive the coder.

    Of text it is called bits per character; two to its power is the perplexity.

    Args:
        last: How many steps at the end are looked at; None means all.
    """

    def compute(self) -> Float[Tensor, ""]:
        """The mean."""
        return super().compute() / math.log(2)

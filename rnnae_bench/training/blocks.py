"""How the optimiser steps of a trial are cut into blocks, each of which is one call of Lightning's."""

import math
from collections.abc import Iterator


class Blocks:
    """How a trial's optimiser steps are cut into blocks, so that an evaluation falls between two.

    >>> blocks = Blocks(max_steps=10, evaluate_every=4, longest=3)
    >>> blocks.per_evaluation, [list(steps) for steps in blocks]
    (2, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])

    Iterating gives the steps (from 0) of each block.

    Args:
        max_steps: Optimiser steps in all.
        evaluate_every: Optimiser steps between two evaluations.
        longest: Steps of the longest block, or a little more at the end of a trial that ends between two evaluations.
    """

    def __init__(self, max_steps: int, evaluate_every: int, longest: int = 32) -> None:
        self.max_steps, self.evaluate_every, self.longest = max_steps, evaluate_every, longest
        rest = max_steps % evaluate_every
        self.per_evaluation = max(math.ceil(evaluate_every / longest), 2 if rest else 1)
        """Blocks between two evaluations. The rest of the steps make fewer, or there would be one after them."""

    def __iter__(self) -> Iterator[range]:
        for first in range(0, self.max_steps, self.evaluate_every):
            steps = min(self.evaluate_every, self.max_steps - first)
            count = self.per_evaluation
            if steps < self.evaluate_every:
                count = min(count - 1, math.ceil(steps / self.longest))
            for block in range(count):
                yield range(first + steps * block // count, first + steps * (block + 1) // count)

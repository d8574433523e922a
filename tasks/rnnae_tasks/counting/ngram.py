"""An interpolated n-gram, counted on weighted strings."""

import math
from collections import defaultdict
from collections.abc import Sequence


class Interpolated:
    """Witten and Bell's smoothing: the chance of x is ``(count(x) + T p) / (count + T)``, of counts after a context.

    T is how many symbols were seen after it, and p the chance after a context that is one shorter; after none, all
    symbols are alike to begin with. A context that was never seen has the shorter one's.

    Source: Witten & Bell (1991), The zero-frequency problem, IEEE Transactions on Information Theory 37(4), method C.

    Args:
        strings: What is counted; the first symbol of each is given.
        weights: How often each was seen.
        symbols: How many symbols there are.
        order: Symbols in an n-gram, the predicted one included.
    """

    def __init__(self, strings: Sequence[Sequence[int]], weights: Sequence[float], symbols: int, order: int) -> None:
        self.symbols, self.order = symbols, order
        self.counts: dict[tuple[int, ...], dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for string, weight in zip(strings, weights, strict=True):
            for place in range(1, len(string)):
                for start in range(max(0, place - order + 1), place + 1):
                    self.counts[tuple(string[start:place])][string[place]] += weight

    def chance(self, context: tuple[int, ...], symbol: int) -> float:
        """Of a symbol after a context."""
        shorter = self.chance(context[1:], symbol) if context else 1 / self.symbols
        seen = self.counts.get(context)
        if seen is None:
            return shorter
        return (seen.get(symbol, 0.0) + len(seen) * shorter) / (sum(seen.values()) + len(seen))

    def bits(self, string: Sequence[int]) -> float:
        """What a string costs, its first symbol given."""
        width = self.order - 1
        return -sum(
            math.log2(self.chance(tuple(string[max(0, place - width) : place]), string[place]))
            for place in range(1, len(string))
        )

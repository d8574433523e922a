"""Letters counted in each language: n-grams with Witten and Bell's smoothing."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

BEGIN, END = "^", "$"


class WittenBell:
    """One model of letters a language, each from that language's names alone.

    The probability of a symbol x after a context of k symbols, of which n occurrences were counted and T distinct
    symbols seen after it, is ``(count(x) + T p) / (n + T)``, where p is its probability after the last k - 1 of these;
    after none of them it is the same for all symbols. A context that was never seen has its shorter one's.

    Source: Witten & Bell (1991), The zero-frequency problem, IEEE Transactions on Information Theory 37(4), method C;
    interpolated as in Chen & Goodman (1998), An empirical study of smoothing techniques for language modeling, 2.5.

    Args:
        lists: The names of each language.
        symbols: How many symbols there are, the end of a name included.
        order: Symbols in an n-gram, the predicted one included.
    """

    def __init__(self, lists: Sequence[Sequence[str]], symbols: int, order: int = 4) -> None:
        self.order, self._uniform = order, np.full(len(lists), 1 / symbols)
        self._counts: dict[str, ndarray] = {}
        self._totals: dict[str, ndarray] = {}
        self._kinds: dict[str, ndarray] = {}
        for language, names in enumerate(lists):
            grams = Counter(gram for name in names for place in self._places(name) for gram in place)
            for gram, count in grams.items():
                for table, key, amount in (
                    (self._counts, gram, count),
                    (self._totals, gram[:-1], count),
                    (self._kinds, gram[:-1], 1),
                ):
                    table.setdefault(key, np.zeros(len(lists)))[language] += amount
        self._none = np.zeros(len(lists))
        self._log_probability = lru_cache(maxsize=None)(self._log_probability)  # type: ignore[method-assign]

    def log_probabilities(self, names: Sequence[str]) -> Float[ndarray, "name language"]:
        """Of each name, its end included, in each language; nats."""
        return np.array([sum(self._log_probability(place[-1]) for place in self._places(name)) for name in names])

    def _places(self, name: str) -> list[list[str]]:
        """For each symbol of a name and its end, the n-grams that end there, the shortest first."""
        text = BEGIN + name + END
        return [
            [text[start : end + 1] for start in range(end, max(-1, end - self.order), -1)]
            for end in range(1, len(text))
        ]

    def _log_probability(self, gram: str) -> Float[ndarray, "language"]:
        """Of the last symbol after the others."""
        probability = self._uniform
        for start in range(len(gram) - 1, -1, -1):
            context = gram[start:-1]
            total, kinds = self._totals.get(context, self._none), self._kinds.get(context, self._none)
            count = self._counts.get(gram[start:], self._none)
            mixed = (count + kinds * probability) / np.maximum(total + kinds, 1)
            probability = np.where(total > 0, mixed, probability)
        return np.log(probability)

"""Characters counted: an n-gram model with interpolated Kneser-Ney smoothing, on arrays."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


class KneserNey:
    """How likely each symbol of a text is after those before it, counted in the text's beginning alone.

    Of n symbols, the last one's probability after the others is

        p_n(x | c) = max(count(c x) - D, 0) / count(c .) + D kinds(c .) / count(c .) p_(n-1)(x | c'),

    where c' lacks c's first symbol and kinds(c .) is how many different symbols follow c. In the longest n-grams count
    is how often they stand in the beginning; in shorter ones, how many different symbols stand before them. Below the
    single symbols all are alike. A context that was never counted has its shorter one's probability. D is
    n1 / (n1 + 2 n2), of the n-grams of that length that were counted once and twice.

    Source: Kneser & Ney (1995), Improved backing-off for m-gram language modeling, ICASSP; the interpolated form and D
    as in Chen & Goodman (1998), An empirical study of smoothing techniques for language modeling, 2.7 and 4.1.

    Args:
        symbols: The whole text.
        counted: How many symbols of its beginning are counted.
        classes: How many symbols there are.
        order: Symbols in the longest n-gram, the predicted one included.
    """

    def __init__(self, symbols: Int[ndarray, " place"], counted: int, classes: int, order: int) -> None:
        self.order, self._counted = order, counted
        self._grams = _numbered(symbols, classes, order + 1)
        self._uniform = 1 / classes

    def log_probabilities(self, start: int, stop: int) -> Float[ndarray, " place"]:
        """Of each symbol from place `start` to before `stop`, after those before it; nats."""
        chances = np.full(stop - start, self._uniform)
        for size in range(1, self.order + 1):
            counts, totals, kinds, discount = self._table(size)
            gram, context = self._grams[size][start:stop], self._grams[size - 1][start - 1 : stop - 1]
            known = totals[context] > 0
            total = np.where(known, totals[context], 1)
            seen = np.maximum(counts[gram] - discount, 0) / total
            chances = np.where(known, seen + discount * kinds[context] / total * chances, chances)
        return np.log(chances)

    def _table(self, size: int) -> tuple[ndarray, ndarray, ndarray, float]:
        """Counts of the n-grams of a size, the sums and kinds of those that begin with a context, and D."""
        grams, counted = self._grams[size], self._counted
        if size == self.order:
            places = np.arange(size - 1, counted)
        else:  # one place of each of the longer n-grams
            longer = self._grams[size + 1][size:counted]
            places = size + np.unique(longer, return_index=True)[1]
        counts = np.bincount(grams[places], minlength=grams.max() + 1)
        one_place = places[np.unique(grams[places], return_index=True)[1]]
        context = self._grams[size - 1][one_place - 1] if size > 1 else np.zeros(len(one_place), dtype=int)
        contexts = self._grams[size - 1].max() + 1
        totals = np.bincount(context, weights=counts[grams[one_place]], minlength=contexts)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        return counts, totals, np.bincount(context, minlength=contexts), once / max(once + 2 * twice, 1)


def _numbered(symbols: Int[ndarray, " place"], classes: int, longest: int) -> list[Int[ndarray, " place"]]:
    """For each size from 0 on the number of the n-gram that ends at each place; what begins before the text wraps."""
    grams = [np.zeros(len(symbols), dtype=np.int64)]
    for _ in range(longest):
        before = np.roll(grams[-1], 1)
        grams.append(np.unique(before * classes + symbols, return_inverse=True)[1].reshape(-1))
    return grams

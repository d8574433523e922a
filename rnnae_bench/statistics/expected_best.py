"""The expected best of n: what a search of a smaller budget would have found."""

import math
from collections.abc import Sequence

import numpy as np


def expected_best(values: Sequence[float]) -> np.ndarray:
    """The mean, over all ways to take n of the N values, of the largest, for n = 1..N; shape ``[N]``.

    Reporting it instead of the best alone is proposed by Dodge, Gururangan, Card, Schwartz & Smith (2019), Show Your
    Work, EMNLP; they draw with replacement, which is biased downwards. This is without, and unbiased (Tang et al. 2020,
    Showing Your Work Doesn't Always Work, ACL): of the sorted values the i-th is the largest of n in
    C(i - 1, n - 1) of the C(N, n) ways.

    >>> expected_best([3.0, 1.0, 2.0]).tolist()
    [2.0, 2.6666666666666665, 3.0]
    """
    ordered = sorted(values)
    total = len(ordered)
    return np.array(
        [
            math.fsum(
                math.comb(place, size - 1) / math.comb(total, size) * value for place, value in enumerate(ordered)
            )
            for size in range(1, total + 1)
        ]
    )

"""All pairs of several models on the same seeds, tested together: who is told apart, and what can be.

A moderated t test (Smyth 2004) with Holm's correction (1979). A pair's variance is drawn to the mean over all pairs, as
far as the pairs' variances are alike: where they differ by no more than estimates of one variance do, variance and
degrees of freedom are those of all models together, and where they differ more, each pair's own. The p value is
continuous in the data, where all differences of a pair are equal too, and no number of models makes a perfect
separation a tie.

Chosen by simulation (``benchmarks/statistics``): of 3 to 30 equal models under five seeds, 0 to 6 % of the families
have any pair with p <= 0.05, whether their results are normal, skewed, heavy-tailed, in steps, solved or not, or of
unequal variances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.paired import holm, least, two_sided

_SHARPNESS = 4
"""Power of the ratio of expected to found spread of the variances: of models of unequal variances, little is pooled."""


@dataclass(frozen=True)
class Family:
    """What the pairs of one family have in common; of `family`."""

    pairs: int
    """How many are tested together."""
    variance: float
    """Mean over the pairs of the variance of their differences, in the metric's units squared."""
    alike: float
    """How far that stands for each pair: 1 where their variances are no less alike than those of equal ones, to 0."""
    pooled: int
    """How many times the degrees of freedom of one pair all of them have."""

    def spread(self, differences: Sequence[float]) -> float:
        """Standard deviation of a pair's differences, drawn to that of all pairs."""
        own = float(np.var(differences, ddof=1))
        return ((1 - self.alike) * own + self.alike * self.variance) ** 0.5

    def degrees(self, seeds: int) -> float:
        """Degrees of freedom of that standard deviation, of a pair with so many seeds."""
        return (seeds - 1) / (1 - self.alike + self.alike / self.pooled)

    def smallest(self, seeds: int, level: float) -> float | None:
        """The smallest mean difference that a pair of the mean variance is told apart by, whatever the others show.

        Args:
            seeds: That both models have.
            level: Largest corrected p that counts as a difference.

        Returns:
            The difference, in the metric's units; None where so few seeds tell nothing apart.
        """
        if seeds < 2 or least(seeds) > level:
            return None
        together = -special.stdtrit(self.degrees(seeds), level / self.pairs / 2)
        alone = -special.stdtrit(seeds - 1, level / 2)
        return float(max(together, alone) * (self.variance / seeds) ** 0.5)

    def corrected(self, differences: Sequence[Sequence[float]]) -> list[float]:
        """The p value of each of the family's pairs, corrected for their number; never below that of the pair alone."""
        counts, means, variances = _moments(differences)
        spreads = np.sqrt((1 - self.alike) * variances + self.alike * self.variance)
        together = holm(two_sided(means, spreads, counts, self.degrees(2) * (counts - 1)).tolist())
        alone = np.maximum(two_sided(means, np.sqrt(variances), counts, counts - 1), 2 * 4.0**-counts)
        return np.maximum(together, np.where(means == 0, 1.0, alone)).tolist()


def family(differences: Sequence[Sequence[float]], models: int) -> Family:
    """The family of pairs of so many models.

    Args:
        differences: Of each pair, one at least, by shared seed: two or more.
        models: How many models the pairs are of.
    """
    counts, _, variances = _moments(differences)
    mean, spread = float(variances.mean()), float(variances.var())
    # Of estimates of one variance with f degrees of freedom, the squared coefficient of variation is 2 / f.
    expected = float(np.mean(2 / (counts - 1))) * mean**2
    alike = 1.0 if spread <= expected else (expected / spread) ** _SHARPNESS
    return Family(pairs=len(variances), variance=mean, alike=alike, pooled=min(models - 1, len(variances)))


def _moments(
    differences: Sequence[Sequence[float]],
) -> tuple[Float[ndarray, "pair"], Float[ndarray, "pair"], Float[ndarray, "pair"]]:
    """How many differences each pair has, their mean, and their sample variance."""
    counts = np.array([len(one) for one in differences], dtype=float)
    values, first = np.concatenate([np.asarray(one, dtype=float) for one in differences]), counts.cumsum() - counts
    means = np.add.reduceat(values, first.astype(int)) / counts
    squares = (values - np.repeat(means, counts.astype(int))) ** 2
    return counts, means, np.add.reduceat(squares, first.astype(int)) / (counts - 1)

"""What the statistics of solving are worth with few seeds: intervals of P(solve), and tests of two equal models.

All outcomes are counted but for the log-rank test, whose level is simulated: a trial that solves does so at one of 20
evaluations, all as likely. Prints the table of solving in this folder's README.
"""

from itertools import product

import numpy as np
from coverage import line
from scipy.stats import binom

from rnnae_bench.statistics import proportions
from rnnae_bench.statistics.survival import Times, log_rank

RANDOM = np.random.default_rng(5)
LEVEL, EVALUATIONS, SIMULATED = 0.05, 20, 10_000


def covered(seeds: int, probability: float) -> float:
    """How often Wilson's interval holds the probability."""
    intervals = [proportions.wilson(solved, seeds) for solved in range(seeds + 1)]
    return sum(
        binom.pmf(solved, seeds, probability)
        for solved, found in enumerate(intervals)
        if found.low is not None and found.high is not None and found.low <= probability <= found.high
    )


def told(seeds: int, probability: float) -> tuple[float, float]:
    """How often two equal models are told apart by Fisher's test, and by Newcombe's interval."""
    by_test = by_interval = 0.0
    for one, other in product(range(seeds + 1), repeat=2):
        chance = binom.pmf(one, seeds, probability) * binom.pmf(other, seeds, probability)
        gap = proportions.difference((one, seeds), (other, seeds))
        by_test += chance * (proportions.p_value((one, seeds), (other, seeds)) <= LEVEL)
        by_interval += chance * (gap.low is not None and gap.high is not None and not gap.low <= 0 <= gap.high)
    return by_test, by_interval


def _trials(seeds: int, probability: float) -> Times:
    solves, steps = RANDOM.random(seeds) < probability, RANDOM.integers(1, EVALUATIONS + 1, seeds)
    return [(int(step), True) if it_does else (EVALUATIONS, False) for step, it_does in zip(steps, solves, strict=True)]


def in_time(seeds: int, probability: float) -> float:
    """How often two equal models are told apart by the log-rank test."""
    found = (log_rank(_trials(seeds, probability), _trials(seeds, probability)) for _ in range(SIMULATED))
    return sum(p is not None and p <= LEVEL for p in found) / SIMULATED


def main() -> None:
    line(["seeds", "P(solve)", "Wilson holds it", "told apart: Fisher", "Newcombe", "log-rank"])
    line(["---"] * 6)
    for seeds, probability in product((5, 10, 20), (0.2, 0.5, 0.8, 0.95)):
        shares = [covered(seeds, probability), *told(seeds, probability), in_time(seeds, probability)]
        line([seeds, probability, *(f"{100 * share:.1f}" for share in shares)])


if __name__ == "__main__":
    main()

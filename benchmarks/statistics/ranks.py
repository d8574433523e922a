"""How often equal models are told apart, and how often unequal ones are, by four ways to test all pairs; by simulation.

Prints the tables of ranks in this folder's README.
"""

import argparse
from collections.abc import Callable
from itertools import combinations

import numpy as np
from coverage import line
from numpy import ndarray
from scipy import stats

from rnnae_bench.statistics import paired
from rnnae_bench.statistics.family import family

RANDOM = np.random.default_rng(11)
LEVEL, SEEDS, SHUFFLES = 0.05, 5, 200

Draw = Callable[[tuple[int, int]], ndarray]
"""From models x seeds to a value each."""


def _noisy(models: int, spreads: Callable[[int], ndarray]) -> ndarray:
    return RANDOM.normal(size=(models, SEEDS)) * spreads(models)[:, None]


NULLS: dict[str, Draw] = {
    "normal": lambda size: RANDOM.normal(size=size),
    "normal, 0.8 of the variance is the seed's": lambda size: (
        0.8**0.5 * RANDOM.normal(size=size[1]) + 0.2**0.5 * RANDOM.normal(size=size)
    ),
    "Student's t, 3 degrees": lambda size: RANDOM.standard_t(3, size),
    "exponential": lambda size: RANDOM.exponential(size=size),
    "beta(9, 1) in steps of 0.05": lambda size: np.round(RANDOM.beta(9, 1, size) * 20) / 20,
    "solved or not, 50 %": lambda size: (RANDOM.random(size) < 0.5).astype(float),
    "solved or not, 80 %": lambda size: (RANDOM.random(size) < 0.8).astype(float),
    "0.98-1 (70 %) or 0.2-0.3 (30 %)": lambda size: np.where(
        RANDOM.random(size) < 0.7, RANDOM.uniform(0.98, 1, size), RANDOM.uniform(0.2, 0.3, size)
    ),
    "spreads from 0.1 to 1": lambda size: _noisy(size[0], lambda models: np.geomspace(0.1, 1, models)),
    "two models' spread 1, others' 0.01": lambda size: _noisy(size[0], lambda n: np.where(np.arange(n) < 2, 1, 0.01)),
    "half the models' spread 1, others' 0.3": lambda size: _noisy(
        size[0], lambda n: np.where(np.arange(n) < max(2, n // 2), 1, 0.3)
    ),
}


def moderated(values: ndarray) -> ndarray:
    """Ours."""
    found = [one - other for one, other in combinations(values, 2)]
    return np.array(family(found, len(values)).corrected(found))


def paired_and_holm(values: ndarray) -> ndarray:
    """Every pair's own t test, and Holm's correction."""
    found = np.array([one - other for one, other in combinations(values, 2)])
    alone = paired.two_sided(found.mean(1), found.std(axis=1, ddof=1), SEEDS, SEEDS - 1)
    flat = found.std(axis=1, ddof=1) <= 1e-12
    return np.array(paired.holm(np.where(flat & (found.mean(1) != 0), paired.least(SEEDS), alone).tolist()))


def tukey(values: ndarray) -> ndarray:
    """Tukey's studentised range in the layout of models and seeds: 0 where it tells two apart, 1 elsewhere."""
    models = len(values)
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    square = (residuals**2).sum() / ((models - 1) * (SEEDS - 1))
    apart = np.array([abs(one - other) for one, other in combinations(values.mean(1), 2)])
    return np.where(apart > _critical(models) * (square / SEEDS) ** 0.5, 0.0, 1.0)


_CRITICAL: dict[int, float] = {}


def _critical(models: int) -> float:
    if models not in _CRITICAL:
        _CRITICAL[models] = stats.studentized_range.isf(LEVEL, models, (models - 1) * (SEEDS - 1))
    return _CRITICAL[models]


def permuted(values: ndarray) -> ndarray:
    """The largest difference when the models change places within each seed."""
    shuffled = RANDOM.permuted(np.broadcast_to(values, (SHUFFLES, *values.shape)), axis=1).mean(-1)
    largest = np.ptp(shuffled, axis=1)
    apart = np.array([abs(one - other) for one, other in combinations(values.mean(1), 2)])
    return ((largest >= apart[:, None] - 1e-12).sum(1) + 1) / (SHUFFLES + 1)


METHODS = {"moderated t, Holm (ours)": moderated, "paired t, Holm": paired_and_holm, "Tukey": tukey, "max-T": permuted}


def nulls(counts: list[int], repeats: int) -> None:
    """Families of equal models in which any two are told apart, in per cent."""
    line(["models", "results", *METHODS])
    line(["---"] * (2 + len(METHODS)))
    for models in counts:
        for name, draw in NULLS.items():
            tables = [draw((models, SEEDS)) for _ in range(repeats)]
            wrong = [np.mean([method(one).min() <= LEVEL for one in tables]) for method in METHODS.values()]
            line([models, name, *(f"{100 * share:.1f}" for share in wrong)])


def groups(counts: list[int], repeats: int) -> None:
    """Three groups of equal models, the groups 20 standard deviations apart: families with two of one told apart."""
    line(["models", "results", *METHODS])
    line(["---"] * (2 + len(METHODS)))
    for models in (one for one in counts if one > 3):
        group = np.arange(models) % 3
        same = np.array([one == other for one, other in combinations(group, 2)])
        for name in ("normal", "Student's t, 3 degrees", "solved or not, 50 %", "spreads from 0.1 to 1"):
            tables = [NULLS[name]((models, SEEDS)) + 20 * group[:, None] for _ in range(repeats)]
            wrong = [np.mean([method(one)[same].min() <= LEVEL for one in tables]) for method in METHODS.values()]
            line([models, name, *(f"{100 * share:.1f}" for share in wrong)])


def powers(counts: list[int], repeats: int) -> None:
    """One model so many standard deviations from all others, which are equal: per cent of its pairs told apart."""
    line(["models", "others", "apart", *METHODS])
    line(["---"] * (3 + len(METHODS)))
    for models in counts:
        for others in ("equal spreads", "a third with ten times the spread"):
            quiet = models - max(1, models // 3)
            spreads = np.where(np.arange(models) < (models if others == "equal spreads" else quiet), 1, 10)
            for apart in (1, 2, 3, 4, 6):
                shown = []
                for _ in range(repeats):
                    values = RANDOM.normal(size=(models, SEEDS)) * spreads[:, None]
                    values[0] += apart
                    # The first pairs are those of the first model; those with a quiet one count.
                    last = (models if others == "equal spreads" else quiet) - 1
                    shown.append([np.mean(method(values)[:last] <= LEVEL) for method in METHODS.values()])
                line([models, others, apart, *(f"{100 * share:.0f}" for share in np.mean(shown, axis=0))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="families of each kind")
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 8, 15, 30], help="models in a family")
    parser.add_argument("--part", choices=["nulls", "groups", "powers"], help="only this table")
    options = parser.parse_args()
    for part in (nulls, groups, powers):
        if options.part in (None, part.__name__):
            print(f"\n{part.__doc__}\n")
            part(options.counts, options.repeats)

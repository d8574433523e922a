"""How often the 95 % intervals cover the truth, and how often the tests are wrong, by simulation.

Prints the tables of this folder's README.
"""

import argparse
from collections.abc import Callable, Iterable

import numpy as np
from numpy import ndarray

from rnnae_bench.statistics import estimates, paired, stratified
from rnnae_bench.statistics.estimates import Estimate

RANDOM = np.random.default_rng(7)

DISTRIBUTIONS: dict[str, Callable[[tuple[int, ...]], ndarray]] = {
    "normal": lambda size: RANDOM.normal(size=size),
    "uniform": lambda size: RANDOM.random(size),
    "Student's t, 3 degrees": lambda size: RANDOM.standard_t(3, size),
    "exponential": lambda size: RANDOM.exponential(size=size),
    "log-normal, sigma 0.5": lambda size: np.exp(RANDOM.normal(0, 0.5, size)),
    "beta(5, 1)": lambda size: RANDOM.beta(5, 1, size),
    "beta(20, 2)": lambda size: RANDOM.beta(20, 2, size),
    "beta(9, 1) in steps of 0.05": lambda size: np.round(RANDOM.beta(9, 1, size) * 20) / 20,
    "0.98-1 (70 %) or 0.2-0.3 (30 %)": lambda size: np.where(
        RANDOM.random(size) < 0.7, RANDOM.uniform(0.98, 1, size), RANDOM.uniform(0.2, 0.3, size)
    ),
}

TIED: dict[str, Callable[[tuple[int, ...]], ndarray]] = {
    "solved or not, 50 %": lambda size: (RANDOM.random(size) < 0.5).astype(float),
    "solved or not, 80 %": lambda size: (RANDOM.random(size) < 0.8).astype(float),
}


def percentile(values: ndarray) -> Estimate:
    """The plain percentile bootstrap of the mean, as a yardstick."""
    drawn = values[RANDOM.integers(len(values), size=(1999, len(values)))].mean(axis=1)
    return Estimate(float(values.mean()), *estimates.ends(drawn, 0.025))


ESTIMATORS: dict[str, Callable[[ndarray], Estimate]] = {
    "mean": lambda values: estimates.mean(values),
    "mean, Student": lambda values: paired.difference(values),
    "mean, percentile": percentile,
    "median": lambda values: estimates.median(values),
    "IQM": lambda values: estimates.interquartile_mean(values),
}


def truths(draw: Callable[[tuple[int, ...]], ndarray]) -> dict[str, float]:
    """Mean, median and interquartile mean of a distribution, from four million values."""
    values = np.sort(draw((4_000_000,)))
    return {
        "mean": values.mean(),
        "median": np.median(values),
        "IQM": values[len(values) // 4 : -len(values) // 4].mean(),
    }


def covers(estimate: Estimate, truth: float) -> bool:
    """Whether the interval has the truth in it; rounding does not count."""
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low - 1e-9 <= truth <= estimate.high + 1e-9


def line(cells: Iterable[object]) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def single(counts: list[int], repeats: int) -> None:
    """Coverage of the intervals of one sample."""
    line(["values", "distribution", *ESTIMATORS])
    line(["---"] * (2 + len(ESTIMATORS)))
    known = {name: truths(draw) for name, draw in DISTRIBUTIONS.items()}
    for count in counts:
        for name, draw in DISTRIBUTIONS.items():
            samples = draw((repeats, count))
            shares = [
                np.mean([covers(estimate(one), known[name][what.split(",")[0]]) for one in samples])
                for what, estimate in ESTIMATORS.items()
            ]
            line([count, name, *(f"{100 * share:.1f}" for share in shares)])


def pairs(counts: list[int], repeats: int) -> None:
    """Two equal models: coverage of the difference and of the superiority, share of p below 0.05 and 0.005."""
    line(["values", "distribution of both", "difference", "superiority", "p <= 0.05", "p <= 0.005"])
    line(["---"] * 6)
    for count in counts:
        for name, draw in (DISTRIBUTIONS | TIED).items():
            first, second = draw((repeats, count)), draw((repeats, count))
            p = np.array([paired.p_value(one - other) for one, other in zip(first, second, strict=True)])
            difference = np.mean([covers(paired.difference(one), 0.0) for one in first - second])
            superior = np.mean(
                [covers(paired.superiority(one, other), 0.5) for one, other in zip(first, second, strict=True)]
            )
            shares = (difference, superior, np.mean(p <= 0.05), np.mean(p <= 0.005))
            line([count, name, *(f"{100 * share:.1f}" for share in shares)])


def shifted(counts: list[int], repeats: int) -> None:
    """Normal values with a shift, correlated by seed: coverage of the probability of superiority."""
    from scipy.special import ndtr

    line(["values", "shift", "correlation", "superiority"])
    line(["---"] * 4)
    for count in counts:
        for shift in (0.5, 1.0, 2.0):
            for correlation in (0.0, 0.5):
                common = correlation**0.5 * RANDOM.normal(size=(repeats, count))
                own = (1 - correlation) ** 0.5
                first = shift + common + own * RANDOM.normal(size=(repeats, count))
                second = common + own * RANDOM.normal(size=(repeats, count))
                truth = float(ndtr(shift / 2**0.5))
                found = [
                    covers(paired.superiority(one, other), truth) for one, other in zip(first, second, strict=True)
                ]
                line([count, shift, correlation, f"{100 * np.mean(found):.1f}"])


def pooled(counts: list[int], repeats: int) -> None:
    """Coverage of the mean over tasks."""
    tasks: dict[str, list[Callable[[int], ndarray]]] = {
        "two normal, far apart": [lambda n, m=m: RANDOM.normal(m, 0.1, n) for m in (0.3, 0.8)],
        "four normal, far apart": [lambda n, m=m: RANDOM.normal(m, 0.1, n) for m in (0.2, 0.5, 0.6, 0.9)],
        "three normal, alike": [lambda n: RANDOM.normal(size=n)] * 3,
        "beta(1, 1), (3, 1), (9, 1), (20, 1)": [lambda n, a=a: RANDOM.beta(a, 1, n) for a in (1, 3, 9, 20)],
        "five exponential, apart": [lambda n, m=m: m + RANDOM.exponential(0.2, n) for m in (0.1, 0.3, 0.5, 0.7, 0.9)],
        "beta(9, 1); uniform to 0.3": [lambda n: RANDOM.beta(9, 1, n), lambda n: RANDOM.uniform(0, 0.3, n)],
        "1 (70 %) or 0.1; normal; beta(2, 2)": [
            lambda n: np.where(RANDOM.random(n) < 0.7, 1, 0.1) + RANDOM.normal(0, 0.01, n),
            lambda n: RANDOM.normal(0.5, 0.1, n),
            lambda n: RANDOM.beta(2, 2, n),
        ],
    }
    line(["trials a task", "tasks", "overall mean"])
    line(["---"] * 3)
    for count in counts:
        for name, draws in tasks.items():
            truth = float(np.mean([draw(1_000_000).mean() for draw in draws]))
            found = [covers(stratified.mean([draw(count) for draw in draws]), truth) for _ in range(repeats)]
            line([count, name, f"{100 * np.mean(found):.1f}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4000, help="samples of each distribution")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 8, 10, 20], help="values in a sample")
    parser.add_argument("--part", choices=["single", "pairs", "shifted", "pooled"], help="only this table")
    options = parser.parse_args()
    for part in (single, pairs, shifted, pooled):
        if options.part not in (None, part.__name__):
            continue
        print(f"\n{part.__doc__}\n")
        part(options.counts, options.repeats if part is not pooled else options.repeats // 4)

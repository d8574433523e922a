"""What is won by training trials as one: whole vectorised trials against the same trials one after the other.

Both run in one process with all default probes, looks, records, and the making of the trials included, on copy with 3
symbols to recall. Of the trials alone, two are run (one before the vectorised trial, one after it, so that both see the
same machine), and their mean stands for each of the K. The ratio is trials per minute vectorised over trials per minute
alone.

    python benchmarks/throughput/vectorized.py --models gru --hidden 16 32 --time 20 --together 8 32
"""

import argparse
import itertools
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

RECALL = 3


@dataclass(frozen=True)
class Shape:
    """A model, a copy task, and how many trials are trained as one."""

    model: str
    hidden: int
    time: int
    together: int
    steps: int
    batch: int


@dataclass(frozen=True)
class Seconds:
    """Of one trial: all of it, and its training alone."""

    whole: float
    training: float


def options(pair: Pair, shape: Shape) -> dict:
    protocol = {"max_steps": shape.steps, "evaluate_every": shape.steps // 2, "batch_size": shape.batch}
    return pair.resolve(
        {
            "task": {"recall": RECALL, "delay": shape.time - 2 * RECALL, "protocol": protocol},
            "model": {"hidden_size": shape.hidden},
        }
    )


def alone(pair: Pair, shape: Shape, seed: int, folder: Path) -> Seconds:
    started = time.perf_counter()
    outcome = Trial(pair, options(pair, shape), seed).run(Store(folder), ["benchmark"])
    whole = time.perf_counter() - started
    assert outcome is not None
    assert outcome.record.status == "ok", outcome.record.failure
    return Seconds(whole, outcome.record.measures.training_seconds)


def as_one(pair: Pair, shape: Shape, folder: Path) -> Seconds:
    started = time.perf_counter()
    trials = [Trial(pair, options(pair, shape), seed) for seed in range(shape.together)]
    outcomes = VectorizedTrial(trials).run(Store(folder), ["benchmark"])
    whole = (time.perf_counter() - started) / shape.together
    assert all(outcome.record.status == "ok" for outcome in outcomes), outcomes[0].record.failure
    return Seconds(whole, outcomes[0].record.measures.training_seconds)


def measure(shape: Shape) -> str:
    """A row of the table."""
    pair = Pair("copy:smoke", shape.model)
    with tempfile.TemporaryDirectory() as folder:
        before = alone(pair, shape, 10**6, Path(folder))
        together = as_one(pair, shape, Path(folder))
        after = alone(pair, shape, 10**6 + 1, Path(folder))
    whole = (before.whole + after.whole) / 2
    training = (before.training + after.training) / 2
    return (
        f"| {torch.get_num_threads()} | `{shape.model}` | {shape.hidden} | {shape.time} | {shape.batch} "
        f"| {shape.together} | {1000 * training / shape.steps:.2f} | {1000 * together.training / shape.steps:.3f} "
        f"| {training / together.training:.1f} | {whole / together.whole:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["rnn", "gru", "lstm"])
    parser.add_argument("--hidden", nargs="+", type=int, default=[16, 32, 64, 128])
    parser.add_argument("--time", nargs="+", type=int, default=[20, 120])
    parser.add_argument("--together", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # The first trial of a process pays for imports.
    measure(Shape(arguments.models[0], 4, 10, 2, 20, 4))
    print("| threads | model | H | T | B | K | ms a step, alone | ms a model-step, as one | training | whole trials |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for each in itertools.product(arguments.models, arguments.hidden, arguments.time, arguments.together):
        print(measure(Shape(*each, arguments.steps, arguments.batch)), flush=True)


if __name__ == "__main__":
    main()

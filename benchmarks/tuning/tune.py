"""Find each model's default hyper-parameters on a task, with the same effort for every model.

Every model gets the same candidates: the peak learning rates below, everything else at its default. One trial each
on the variant `standard`, under a seed that no leaderboard uses; the best primary metric on the validation set wins.
The test set is not looked at. Prints one line a candidate and, at the end, the lines for the card's `tuned`.

    python benchmarks/tuning/tune.py copy rnn lstm gru
    python benchmarks/tuning/tune.py denoise rnn lstm gru --set bidirectional=true
"""

import argparse
import contextlib
import logging
import os
from pathlib import Path

import torch
import yaml

from rnnae_bench.options.yaml12 import load
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 2e-2)
SEED = 1000


def validation_value(pair: Pair, options: dict, store: Store) -> float | None:
    """The primary metric at the last evaluation on the validation set; None where the trial failed."""
    trial = Trial(pair, pair.resolve({"model": options}), SEED)
    record = store.find(trial.identity)
    if record is None:
        with contextlib.redirect_stdout(None):
            outcome = trial.run(store, ["benchmarks/tuning/tune.py"])
        assert outcome is not None
        record = outcome.record
    if record.status != "ok":
        return None
    return record.metrics["validation"][record.primary.metric]


def candidate(fixed: dict, rate: float) -> dict:
    """The options of one candidate: what is fixed for all, and its learning rate."""
    return {**fixed, "optimization": {**fixed["optimization"], "learning_rate": rate}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="fixed for every candidate")
    parser.add_argument("--out", default="runs/tuning", help="folder for the records; what is there is not run again")
    parser.add_argument("--rates", nargs="+", type=float, default=LEARNING_RATES, help="the learning rates to try")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    store = Store(Path(arguments.out))
    fixed: dict = {"optimization": {}}
    for key, _, value in (one.partition("=") for one in arguments.set):
        section, dot, name = key.partition(".")
        (fixed[section] if dot else fixed)[name or section] = load(value)
    tuned = {}
    for model in arguments.models:
        pair = Pair(arguments.task, model)
        sign = 1 if pair.variant.primary.direction == "maximize" else -1
        found = {}
        for rate in arguments.rates:
            value = validation_value(pair, candidate(fixed, rate), store)
            print(f"{pair.label} {model} learning_rate={rate:g}: {value}", flush=True)
            if value is not None:
                found[rate] = sign * value
        best = max(found, key=lambda rate: found[rate])
        tuned[model] = candidate(fixed, best)
    print(yaml.safe_dump({"tuned": tuned}, default_flow_style=None, sort_keys=False), end="")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

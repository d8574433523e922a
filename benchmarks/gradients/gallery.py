"""The gradient through time of five recurrences on copy at T = 100, as one picture.

    python benchmarks/gradients/gallery.py --threads 1

Trains each for some hundred steps as `rnnae-bench run` would and draws the profiles of the last step's loss.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.report.heatmaps import gallery
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

RECURRENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("rnn", {"initialization": "pytorch"}),
    "orthogonal rnn": ("rnn", {"initialization": "orthogonal"}),
    "lstm": ("lstm", {"initialization": "pytorch", "forget_bias": 0.0}),
    "lstm, forget bias 1": ("lstm", {"initialization": "pytorch", "forget_bias": 1.0}),
    "gru": ("gru", {"initialization": "pytorch"}),
}
"""Title, and the model with its options."""

COLUMN = "gradient_flow/last_step/recurrence.l0/h"


def profiles(name: str, options: dict[str, Any], steps: int, store: Store) -> Series:
    """Train and return log10 g by step and lag."""
    pair = Pair("copy", name)
    protocol = {"max_steps": steps, "evaluate_every": steps}
    task = {"delay": 80, "protocol": protocol}
    outcome = Trial(pair, pair.resolve({"task": task, "model": options}), seed=0).run(store, ["gallery.py"])
    assert outcome is not None
    if outcome.record.status != "ok":
        raise SystemExit(f"{name}: {outcome.record.failure.message}")
    numbers = {key: value for key, value in outcome.record.measures.by_name.items() if key.startswith(COLUMN)}
    print(name, options, f"test {outcome.record.primary.value:.3f}")
    for key, value in numbers.items():
        print(f"  {key.removeprefix(COLUMN + '/')}: {value}")
    return outcome.series[COLUMN]


def main() -> None:
    """Train all and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps of each")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs/images/copy-100.png")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        named = {
            title: profiles(model, settings, options.steps, store) for title, (model, settings) in RECURRENCES.items()
        }
    options.out.write_bytes(gallery(named))
    print(options.out)


if __name__ == "__main__":
    main()

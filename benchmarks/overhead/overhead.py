"""What the machinery of a trial costs beside a training loop written by hand.

One process, one run: the trial (Trainer, data, probes, progress bar, record) trains as `rnnae-bench run` would, and
every few optimiser steps it stands still while the loop by hand trains a model of the same class for as many, on
batches of the same task that were made beforehand. The trial's time runs from the end of one Lightning batch to the end
of another some optimiser steps later: start-up, evaluations on the validation set and the test are not in it, all else
is.
A burst is several such turns of both, so that the two see the same machine; the ratio is the median over the bursts.

    python benchmarks/overhead/overhead.py --threads 1
"""

import argparse
import contextlib
import json
import logging
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from torch import nn

from rnnae_bench.api.training_progress import TrainingProgress
from rnnae_bench.contracts.task import Task
from rnnae_bench.records.store import Store
from rnnae_bench.trial import environment
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

TURNS = 5
"""Turns of each in a burst."""
WARM_UP = 3
"""Bursts that are not counted: caches, the allocator and the probes' buffers fill in them."""


@dataclass(frozen=True)
class Shape:
    """A model and a copy task: `turn` optimiser steps a turn, `bursts` bursts that count."""

    model: str
    hidden: int
    time: int
    batch: int
    turn: int
    bursts: int


SHAPES = (
    Shape("rnn", hidden=16, time=20, batch=32, turn=32, bursts=25),
    Shape("gru", hidden=128, time=40, batch=32, turn=8, bursts=20),
)


@dataclass(frozen=True)
class Cost:
    """Medians of one shape: milliseconds an optimiser step, and the ratio within the bursts."""

    shape: Shape
    by_hand_ms: float
    trial_ms: float
    ratio: float
    lower_quartile: float
    upper_quartile: float


class LoopByHand:
    """What one would write without any framework: fused AdamW, clipping, warm-up and cosine, nothing recorded."""

    def __init__(self, model: Any, task: Task, steps: int) -> None:
        self.model, self.task = model.train(), task
        optimization = model.optimization
        self.clip = optimization.clip
        self.weights = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=optimization.learning_rate, weight_decay=optimization.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: optimization.rate(step, steps))
        self.batches = [task.train_batch(step) for step in range(steps)]
        self.done = 0

    def run(self, steps: int) -> float:
        """Train for some steps; the seconds they took."""
        started = time.perf_counter()
        for batch in self.batches[self.done : self.done + steps]:
            loss = self.task.loss(self.model(batch.inputs, batch.lengths), batch)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.weights, self.clip)
            self.optimizer.step()
            self.schedule.step()
        self.done += steps
        return time.perf_counter() - started


class Alternation(Callback):
    """Lets the loop by hand take turns with the trial, and keeps the seconds of both."""

    def __init__(self, by_hand: LoopByHand, turn: int) -> None:
        self.by_hand, self.turn = by_hand, turn
        self.seconds: list[tuple[float, float]] = []
        self._started: float | None = None
        self._first = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.global_step - self._first
        if self._started is not None and steps < self.turn:
            return
        if self._started is not None:
            seconds = time.perf_counter() - self._started
            self.seconds.append((self.by_hand.run(steps), seconds))
        self._first, self._started = trainer.global_step, time.perf_counter()


def measure(shape: Shape) -> Cost:
    """Train both in turns."""
    # The trial's first Lightning batch is nobody's turn.
    steps = shape.turn * (TURNS * (shape.bursts + WARM_UP) + 1)
    recall = 3
    pair = Pair("copy:smoke", shape.model)
    options = pair.resolve(
        {
            "task": {
                "recall": recall,
                "delay": shape.time - 2 * recall,
                "protocol": {"max_steps": steps, "evaluate_every": steps, "batch_size": shape.batch},
            },
            "model": {"hidden_size": shape.hidden},
        }
    )
    trial = Trial(pair, options, seed=0)
    by_hand = LoopByHand(pair.build_model(trial.task, options["model"], seed=0), trial.task, steps)
    alternation = Alternation(by_hand, shape.turn)
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as nowhere:
        bar = TrainingProgress(Console(file=nowhere, force_terminal=True), "overhead", pair.variant.primary.metric)
        with contextlib.redirect_stdout(None):
            outcome = trial.run(Store(Path(folder)), ["benchmarks/overhead/overhead.py"], [bar, alternation])
    assert outcome is not None
    assert outcome.record.status == "ok", outcome.record.failure
    turns = alternation.seconds
    bursts = [
        tuple(map(sum, zip(*turns[first : first + TURNS], strict=True)))
        for first in range(0, len(turns) - TURNS + 1, TURNS)
    ][WARM_UP:]
    ratios = [trial / loop for loop, trial in bursts]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    a_step = 1000 / (shape.turn * TURNS)
    return Cost(
        shape,
        by_hand_ms=statistics.median(loop for loop, _ in bursts) * a_step,
        trial_ms=statistics.median(trial for _, trial in bursts) * a_step,
        ratio=statistics.median(ratios),
        lower_quartile=lower,
        upper_quartile=upper,
    )


def table(costs: list[Cost], threads: int) -> str:
    """The costs as a Markdown table."""
    lines = [
        "| threads | model | H | T | B | by hand, ms a step | trial, ms a step | ratio | its quartiles |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cost in costs:
        shape = cost.shape
        lines.append(
            f"| {threads} | `{shape.model}` | {shape.hidden} | {shape.time} | {shape.batch} | {cost.by_hand_ms:.2f} "
            f"| {cost.trial_ms:.2f} | {cost.ratio:.3f} | {cost.lower_quartile:.3f}–{cost.upper_quartile:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    parser.add_argument("--models", nargs="+", default=[shape.model for shape in SHAPES], help="only these")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    costs = [measure(shape) for shape in SHAPES if shape.model in arguments.models]
    if arguments.json:
        versions = {"processor": environment.processor(), **environment.versions()}
        print(
            json.dumps({"threads": arguments.threads, **versions, "costs": [asdict(cost) for cost in costs]}, indent=1)
        )
    else:
        print(table(costs, arguments.threads))


if __name__ == "__main__":
    main()

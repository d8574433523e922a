"""What the gradient through time costs: kernels, single profiles, and whole trials, beside plain ``torch.nn``.

Everything is timed in one process in interleaved bursts; the ratios are medians over the bursts.

    python benchmarks/gradients/gradients.py --threads 1

Tables:

- *kernel*: forward and backward pass of this suite's recurrence, and of the one that a trial takes, beside torch.nn's;
- *profile*: one profile of each reading, beside a training step (forward, backward) of the same model without it;
- *trial*: an optimiser step of a trial with all default probes, beside the same trial with the recurrence of torch.nn
  and no probe. One step in 100 is profiled, as by default in trials of 5,000 steps.
"""

import argparse
import contextlib
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from rnnae_bench.allocator import keep_freed_memory
from rnnae_bench.configuration import Pair
from rnnae_bench.probes import Cost, Evaluation, GradientFlow, GradientNorms, TrainingCurve
from rnnae_bench.recurrence import stack
from rnnae_bench.task import Blocks, Task

SHAPES = ((128, 120, 128), (32, 20, 16), (32, 784, 128))
"""Batch, time, hidden."""

KINDS = {"rnn": (stack.RNN, nn.RNN), "gru": (stack.GRU, nn.GRU), "lstm": (stack.LSTM, nn.LSTM)}

SYMBOLS = 10
PROFILE_EVERY = 100


class Plain(nn.Module):
    """A recurrence of torch.nn that is called as a stack is."""

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__()
        self.recurrence = recurrence

    def forward(self, inputs: Tensor, lengths: None = None) -> tuple[Tensor, Any]:
        return self.recurrence(inputs)


def bursts(contestants: dict[str, Callable[[], object]], seconds: float, count: int) -> dict[str, list[float]]:
    """Milliseconds a call of each contestant, in turns; `count` bursts of about so many seconds for all together."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    started = time.perf_counter()
    for run in contestants.values():
        run()
    calls = max(1, round(seconds / (time.perf_counter() - started)))
    for _ in range(count):
        for name, run in contestants.items():
            started = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter() - started) / calls * 1e3)
    return times


def ratio(times: dict[str, list[float]], name: str, of: str) -> float:
    """The median over the bursts of one contestant's time over another's."""
    return statistics.median(mine / other for mine, other in zip(times[name], times[of], strict=True))


def kernel(kind: str, shape: tuple[int, int, int], seconds: float, count: int) -> dict[str, float]:
    """Forward and backward pass."""
    batch, steps, hidden = shape
    ours, theirs = KINDS[kind]
    inputs, direct = torch.randn(batch, steps, SYMBOLS), torch.randn(batch, steps, hidden)
    modules: dict[str, nn.Module] = {
        "torch.nn": theirs(SYMBOLS, hidden, batch_first=True),
        "kernel": ours(SYMBOLS, hidden, backend="kernel"),
        "auto": ours(SYMBOLS, hidden),
    }

    def pass_through(module: nn.Module) -> None:
        module.zero_grad()
        module(inputs)[0].backward(direct)

    times = bursts({name: lambda each=each: pass_through(each) for name, each in modules.items()}, seconds, count)
    return {
        "torch.nn ms": statistics.median(times["torch.nn"]),
        "kernel": ratio(times, "kernel", "torch.nn"),
        "auto": ratio(times, "auto", "torch.nn"),
    }


def pair_of(kind: str, shape: tuple[int, int, int], max_steps: int) -> tuple[Pair, dict[str, Any]]:
    """The model on a copy task of that shape."""
    batch, steps, hidden = shape
    pair = Pair("copy:smoke", kind)
    protocol = {"max_steps": max_steps, "evaluate_every": max_steps, "batch_size": batch}
    options = pair.resolve(
        {"task": {"recall": 3, "delay": steps - 6, "protocol": protocol}, "model": {"hidden_size": hidden}}
    )
    return pair, options


def build(kind: str, shape: tuple[int, int, int], max_steps: int, plain: bool) -> tuple[Any, Task]:
    """Model and task; with `plain` on the recurrence of torch.nn."""
    pair, options = pair_of(kind, shape, max_steps)
    task = pair.build_task(options["task"], 0)
    model: Any = pair.build_model(task, options["model"], 0)
    if plain:
        theirs = KINDS[kind][1](task.spec.sequence.vocabulary, shape[2], batch_first=True)  # type: ignore[union-attr]
        theirs.load_state_dict(model.recurrence.state_dict())
        model.recurrence = Plain(theirs)
    return model, task


class Clock(Callback):
    """Seconds of the optimiser steps of a training, the first block left out."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._first = 0
        self.milliseconds = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._started is None:
            self._started, self._first = now, trainer.global_step
        else:
            self.milliseconds = (now - self._started) / (trainer.global_step - self._first) * 1e3


def train(model: Any, task: Task, probes: Sequence[Callback]) -> float:
    """Train as a trial does, in four blocks; milliseconds an optimiser step."""
    steps, clock = task.protocol.max_steps, Clock()
    task.blocks = Blocks(steps, steps, longest=steps // 4)
    model.train_in_blocks()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        callbacks=[*probes, clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=task)
    return clock.milliseconds


def default_probes(kind: str, task: Task, profiled: bool) -> list[Callback]:
    """The probes of a trial; with `profiled`, one profile in the second half of the training, otherwise none."""
    flow = GradientFlow(task)
    flow.steps = {task.protocol.max_steps - 1} if profiled else set()
    primary = Pair("copy:smoke", kind).variant.primary
    return [GradientNorms(), flow, Evaluation(task, primary), Cost(), TrainingCurve()]


def trial(kind: str, shape: tuple[int, int, int], steps: int, count: int) -> dict[str, float]:
    """A training with all default probes beside one with none on torch.nn; a profile's cost spread over 100 steps."""
    times: dict[str, list[float]] = {"plain": [], "probed": [], "profiled": []}
    for burst in range(count + 1):
        for name, found in times.items():
            model, task = build(kind, shape, steps, plain=name == "plain")
            probes = [] if name == "plain" else default_probes(kind, task, profiled=name == "profiled")
            milliseconds = train(model, task, probes)
            if burst:
                found.append(milliseconds)
    measured = steps - steps // 4
    profile = [(b - a) * measured for a, b in zip(times["probed"], times["profiled"], strict=True)]
    plain = statistics.median(times["plain"])
    without = ratio(times, "probed", "plain")
    one = statistics.median(profile) / plain
    return {"torch.nn ms": plain, "without profile": without, "a profile": one, "trial": without + one / PROFILE_EVERY}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for row in rows:
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    parser.add_argument("--bursts", type=int, default=7, help="bursts of each measurement")
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds of a burst, about")
    parser.add_argument("--only", choices=("kernel", "trial"), help="only this table")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    keep_freed_memory()
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("kernel", "trial"):
        if options.only not in (None, name):
            continue
        found[name] = []
        for shape in SHAPES:
            for kind in KINDS:
                row: dict[str, Any] = {"shape": "B{} T{} H{}".format(*shape), "recurrence": kind}
                if name == "kernel":
                    row |= kernel(kind, shape, options.seconds, options.bursts)
                else:
                    steps = {20: 256, 120: 32, 784: 12}[shape[1]]
                    with contextlib.redirect_stdout(None):
                        row |= trial(kind, shape, steps, max(3, options.bursts // 2))
                found[name].append(row)
        if not options.json:
            print(f"{name}, {options.threads} thread(s)\n\n{table(found[name])}\n", flush=True)
    if options.json:
        print(json.dumps({"threads": options.threads, **found}, indent=1))


if __name__ == "__main__":
    main()

"""What the gradient through time costs: kernels, single profiles, and whole trials, beside plain ``torch.nn``.

Everything is timed in one process in interleaved bursts; the ratios are medians over the bursts.

    python benchmarks/gradients/gradients.py --threads 1

Tables:

- *kernel*: forward and backward pass of this suite's recurrence, and of the one that a trial takes, beside torch.nn's;
- *profile*: one profile of each reading, beside a training step (forward, backward) of the same model without it;
- *trial*: an optimiser step of a trial with all default probes, beside the same trial with the recurrence of torch.nn
  and no probe. One step in 80 is profiled, as by default in trials of up to 8,000 steps.
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

from rnnae_bench.contracts.task import Task
from rnnae_bench.probes import Cost, Evaluation, GradientFlow, GradientNorms, OptimizerSteps, TrainingCurve
from rnnae_bench.recurrence import gru, lstm, vanilla
from rnnae_bench.training.allocator import keep_freed_memory
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.trial.pair import Pair

SHAPES = ((128, 120, 128), (32, 20, 16), (32, 784, 128))
"""Batch, time, hidden."""

KINDS = {"rnn": (vanilla.RNN, nn.RNN), "gru": (gru.GRU, nn.GRU), "lstm": (lstm.LSTM, nn.LSTM)}

SYMBOLS = 10
PROFILE_EVERY = 80


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


class Clock(OptimizerSteps):
    """Milliseconds of every optimiser step, from the end of the one before; it must be the last callback."""

    def __init__(self) -> None:
        self.milliseconds: dict[int, float] = {}
        self._last: float | None = None

    def on_optimizer_step(self, trainer: Trainer, pl_module: Any, step: int, loss: Tensor | None, batch: Any) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.milliseconds[step] = (now - self._last) * 1e3
        self._last = now


def train(model: Any, task: Task, probes: Sequence[Callback], profiled: set[int]) -> tuple[float, float | None]:
    """Train as a trial does, in four blocks.

    Returns:
        Milliseconds of an optimiser step (the median over those not profiled, after the first block), and what
        a profile adds to one (the difference of the medians).
    """
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
    times = {step: one for step, one in clock.milliseconds.items() if step > steps // 4}
    others = [one for step, one in times.items() if step not in profiled]
    with_profile = [one for step, one in times.items() if step in profiled]
    added = statistics.median(with_profile) - statistics.median(others) if with_profile else None
    return statistics.median(others), added


def default_probes(kind: str, task: Task, profiled: set[int]) -> list[Callback]:
    """The probes of a trial, with profiles at the given steps."""
    flow = GradientFlow(task)
    flow.steps = profiled
    primary = Pair("copy:smoke", kind).variant.primary
    return [GradientNorms(), flow, Evaluation(task, primary), Cost(), TrainingCurve()]


def trial(kind: str, shape: tuple[int, int, int], steps: int, count: int) -> dict[str, float]:
    """A training with all default probes beside one with none on torch.nn; a profile's cost spread over 80 steps.

    What a profile costs is taken from a third training with many: what it adds to its own step, and to those after it,
    whose data it drove from the caches.
    """
    period = max(4, steps // 16)
    many = set(range(steps // 4 + 2, steps, period))
    times: dict[str, list[float]] = {"plain": [], "probed": [], "profiled": []}
    profiles = []
    for burst in range(count + 1):
        for name, found in times.items():
            model, task = build(kind, shape, steps, plain=name == "plain")
            profiled = many if name == "profiled" else set()
            probes = [] if name == "plain" else default_probes(kind, task, profiled)
            milliseconds, added = train(model, task, probes, profiled)
            if burst:
                found.append(milliseconds)
                if added is not None:
                    profiles.append(added + (milliseconds - times["probed"][-1]) * (period - 1))
    plain, without = statistics.median(times["plain"]), ratio(times, "probed", "plain")
    one = statistics.median(profiles) / plain
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
    parser.add_argument("--time", type=int, choices=[time for _, time, _ in SHAPES], help="only the shape of that T")
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
        for shape in [one for one in SHAPES if options.time in (None, one[1])]:
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

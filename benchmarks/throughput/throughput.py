"""Trials per minute of a grid of small models: this suite's ways to run them, beside a shell loop.

    python benchmarks/throughput/throughput.py --trials 64 --steps 1000

Each way runs the same trials (vanilla RNN and GRU of 16 units on `copy` over 20 steps, seeds counting up) from an empty
folder to the last record, the start of the workers included: `rnnae-bench sweep` with trials trained as one, without,
on a Ray cluster of this machine, and `rnnae-bench run` in a loop, a process each (measured on a few and scaled up).
Every worker has one thread, and there are as many as cores. The ways take turns; ratios are of the medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = [sys.executable, "-m", "rnnae_bench"]
LOOPED = 4
"""Trials of the shell loop."""


def call(*words: str) -> None:
    """Run a command of the suite; its output matters only where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)


def sweep(trials: int, steps: int, batch: int, *options: str) -> tuple[float, int]:
    """Seconds and number of records of a sweep."""
    protocol = f"protocol.batch_size={batch},protocol.max_steps={steps},protocol.evaluate_every={steps}"
    task = f"copy:smoke[delay=8,recall=6,{protocol}]"
    grid = ["--task", task, "--model", "rnn[hidden_size=16]", "--model", "gru[hidden_size=16]"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        call("sweep", *grid, "--seeds", str(trials // 2), "--out", folder, *options)
        seconds = time.perf_counter() - started
        return seconds, len(list(Path(folder).glob("*.json")))


def loop(trials: int, steps: int, batch: int) -> tuple[float, int]:
    """Seconds and number of records of a loop of ``run``."""
    options = ["--task.delay", "8", "--task.recall", "6", "--model.hidden_size", "16", "--threads", "1"]
    options += ["--task.protocol.batch_size", str(batch)]
    options += ["--task.protocol.max_steps", str(steps), "--task.protocol.evaluate_every", str(steps)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for trial in range(LOOPED):
            model = ("rnn", "gru")[trial % 2]
            call("run", "--task", "copy:smoke", "--model", model, "--seed", str(trial), "--out", folder, *options)
        seconds = time.perf_counter() - started
        return seconds, len(list(Path(folder).glob("*.json")))


WAYS: dict[str, Callable[[int, int, int], tuple[float, int]]] = {
    "sweep, trained as one": lambda *size: sweep(*size, "--vectorize", "auto"),
    "sweep, each by itself": lambda *size: sweep(*size, "--vectorize", "off"),
    "sweep on Ray": lambda *size: sweep(*size, "--vectorize", "off", "--executor", "ray"),
    "loop of run": loop,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64, help="trials of the grid, an even number")
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps of each")
    parser.add_argument("--batch", type=int, default=32, help="sequences in a batch")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way is measured")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this one; several times for several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    per_minute: dict[str, list[float]] = {way: [] for way in options.way or WAYS}
    for _ in range(options.rounds):
        for way, found in per_minute.items():
            seconds, records = WAYS[way](options.trials, options.steps, options.batch)
            assert records == (LOOPED if way == "loop of run" else options.trials), (way, records)
            found.append(60 * records / seconds)
    medians = {way: statistics.median(found) for way, found in per_minute.items()}
    if options.json:
        print(
            json.dumps(
                {"trials": options.trials, "steps": options.steps, "batch": options.batch, "per minute": per_minute},
                indent=1,
            )
        )
        return
    base = medians.get("sweep, each by itself")
    print("| way | trials a minute | over each by itself |\n| --- | --- | --- |")
    for way, found in medians.items():
        print(f"| {way} | {found:.0f} | {'-' if base is None else f'{found / base:.2f}'} |")


if __name__ == "__main__":
    main()

"""How many threads, and how they wait for each other: training steps a second, alone and beside a busy process.

Every way has a process of its own, since the environment counts when torch is loaded; they take turns, and each turn is
a trial that is stopped after `--seconds`, whose record says the rate. In every round they do so once on the machine as
it is, and once beside a process that never rests. A row shows medians, and the medians of each turn's ratio to the
first way's in the same round.

    python benchmarks/threads/threads.py
    python benchmarks/threads/threads.py --spins 0 3000 10000 100000 --rounds 9
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUSY = "while True: pass"


def serve(task: str, model: str, threads: int, seconds: float) -> None:
    """Answer every line on standard input with the steps a second of a trial."""
    import logging

    import torch

    from rnnae_bench.probes import OptimizerSteps
    from rnnae_bench.records.store import Store
    from rnnae_bench.trial.pair import Pair
    from rnnae_bench.trial.trial import Trial

    class Stop(OptimizerSteps):
        """Ends a trial once it has trained for so long, as Ctrl-C does."""

        def on_train_start(self, trainer, pl_module):
            self.end = time.perf_counter() + seconds

        def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
            if time.perf_counter() > self.end:
                raise KeyboardInterrupt

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    pair = Pair(task, model)
    options = pair.resolve({"trainer": {"accelerator": "cpu"}})
    print("ready", flush=True)
    for turn, _ in enumerate(sys.stdin):
        with tempfile.TemporaryDirectory() as folder:
            outcome = Trial(pair, options, turn).run(Store(Path(folder)), ["benchmark"], [Stop()])
        assert outcome is not None
        assert outcome.record.status == "interrupted", outcome.record.failure
        print(json.dumps(outcome.record.measures.steps_per_second), flush=True)


class Way:
    """A process with so many threads that wait in such a way; `spins` None is what libgomp does by itself."""

    def __init__(self, options: argparse.Namespace, threads: int, spins: int | None) -> None:
        self.threads, self.spins = threads, spins
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "MKL_"))}
        if spins is not None:
            environment["GOMP_SPINCOUNT"] = str(spins)
        served = [
            "--serve",
            str(threads),
            "--task",
            options.task,
            "--model",
            options.model,
            f"--seconds={options.seconds}",
        ]
        command = [sys.executable, __file__, *served]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def turn(self) -> float:
        """Steps a second of one turn."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="copy")
    parser.add_argument("--model", default="gru")
    parser.add_argument("--threads", type=int, default=2, help="of all ways but the last, which has one")
    parser.add_argument("--spins", nargs="+", type=int, default=[3000], help="values of GOMP_SPINCOUNT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.task, options.model, options.serve, options.seconds)
        return
    ways = [Way(options, options.threads, spins) for spins in (None, *options.spins)] + [Way(options, 1, None)]
    rates: dict[bool, list[list[float]]] = {False: [], True: []}
    for number in range(options.rounds + 1):
        for beside in (False, True):
            busy = subprocess.Popen([sys.executable, "-c", BUSY]) if beside else None
            try:
                found = [way.turn() for way in ways]
            finally:
                if busy is not None:
                    busy.kill()
                    busy.wait()
            # The first round warms up.
            if number:
                rates[beside].append(found)
            print(number, "busy" if beside else "idle", *(f"{one:.1f}" for one in found), file=sys.stderr, flush=True)
    print("| threads | `GOMP_SPINCOUNT` | idle, steps/s | ratio | one busy process, steps/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for place, way in enumerate(ways):
        cells = []
        for beside in (False, True):
            cells.append(f"{statistics.median(row[place] for row in rates[beside]):.1f}")
            cells.append(f"{statistics.median(row[place] / row[0] for row in rates[beside]):.2f}")
        print(f"| {way.threads} | {'unset' if way.spins is None else way.spins} | {' | '.join(cells)} |")
        way.close()


if __name__ == "__main__":
    main()

"""Whether a task's data are a function of what they may depend on, and of nothing else."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rnnae_bench.contracts.fingerprint import Fingerprint
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require, same
from rnnae_bench.testing.of_tasks.clock import another_time


def steps_of(candidate: TaskCandidate) -> list[int]:
    """Steps of the training: the first, some in the middle, the last."""
    last = candidate.last_step
    return sorted({step for step in (0, 1, 2, 3, last // 2, last - 1, last) if 0 <= step <= last})


def prints(task: Task, steps: Sequence[int], sets: Sequence[str]) -> dict[str, str]:
    """A hash of each of some training batches, and of each of some evaluation sets, asked for in this order."""
    found = {}
    for step in steps:
        one = Fingerprint()
        one.add(task.train_batch(step))
        found[f"the training batch of step {step}"] = str(one)
    for name in sets:
        one = Fingerprint()
        for batch in task.evaluation_batches(name) if task.streams else [task.evaluation_set(name)]:
            one.add(batch)
        found[f"the set '{name}'"] = str(one)
    return found


def ground(candidate: TaskCandidate) -> tuple[Task, dict[str, str]]:
    """A task of which nothing else was asked before, and the hashes of some of its batches and of its sets."""
    _seed(0)
    task = candidate.make()
    return task, prints(task, steps_of(candidate), task.all_sets)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def require_same(one: dict[str, str], two: dict[str, str], but: str) -> None:
    """Raise `AssertionError` where data differ; says what they may depend on."""
    for what, found in one.items():
        allowed = "the constructor's arguments" + (", data_seed and step" if "batch" in what else "")
        require(
            two[what] == found,
            f"{what} {but}; it must depend on nothing but {allowed}: draw from self.generator(...) alone",
        )


def batch_size(candidate: TaskCandidate) -> str:
    """Does every training batch have protocol.batch_size rows?"""
    wanted = candidate.variant.protocol.batch_size
    for step, batch in candidate.batches.items():
        rows = sorted({len(tensor) for tensor in batch if tensor is not None})
        require(
            rows == [wanted],
            f"every training batch must have protocol.batch_size = {wanted} rows, not {rows} as that of step {step}",
        )
    return f"{len(candidate.batches)} batches up to step {candidate.last_step}: {wanted} rows each"


def global_generators(candidate: TaskCandidate) -> str:
    """Are the data the same whatever Python, NumPy and torch draw at random?"""
    _, one = candidate.once(ground)
    _seed(1)
    two = prints(candidate.make(), steps_of(candidate), candidate.task.all_sets)
    require_same(one, two, "changes with the seed of a global generator (of random, numpy or torch)")
    return f"under two seeds: {len(one)} batches and sets are the same"


def clock(candidate: TaskCandidate) -> str:
    """Are the data the same at another time?"""
    _, now = candidate.once(ground)
    with another_time(candidate.task_class):
        later = prints(candidate.make(), steps_of(candidate), candidate.task.all_sets)
    require_same(now, later, "changes with the clock")
    return f"more than a year later: {len(now)} batches and sets are the same"


def order_of_calls(candidate: TaskCandidate) -> str:
    """Are the data the same whatever was asked for before?"""
    (one, forwards), two, steps = candidate.once(ground), candidate.make(), steps_of(candidate)
    backwards = prints(two, (), two.all_sets[::-1]) | prints(two, steps[::-1], ())
    require_same(forwards, backwards, "changes with the calls before it")
    require_same(forwards, prints(one, steps, one.all_sets), "is another one when it is asked for again")
    return f"forwards, backwards and again: {len(forwards)} batches and sets are the same"


def data_seed(candidate: TaskCandidate) -> str:
    """Does the data seed change the training batches, and them alone?"""
    one = candidate.task
    two = candidate.make(data_seed=one.data_seed + 1)
    names = one.all_sets
    require(
        prints(one, (0, 1, 2), ()) != prints(two, (0, 1, 2), ()),
        "data_seed must change the training batches: put self.data_seed into the generator's key",
    )
    mine, others = prints(one, (), names), prints(two, (), names)
    require(
        mine == others, "data_seed must not change the evaluation sets: leave it out of the generator's key for them"
    )
    return f"another seed: other training batches, the same {len(names)} sets"


def steps_differ(candidate: TaskCandidate) -> str:
    """Do training batches differ from step to step?"""
    for (one, first), (two, second) in pairwise(candidate.batches.items()):
        require(not same(first, second), f"train_batch must differ from step to step, and steps {one} and {two} do not")
    return f"{len(candidate.batches)} batches up to step {candidate.last_step}: no two in a row alike"


class _Steps(Dataset[Batch]):
    """Training batches by their step."""

    def __init__(self, task: Task, steps: Sequence[int]) -> None:
        self.task, self.steps = task, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Batch:
        return self.task.train_batch(self.steps[index])


def workers(candidate: TaskCandidate) -> str:
    """Is a training batch the same in a worker process of a DataLoader?"""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise NotAsked("this system can't fork worker processes")
    steps, task = steps_of(candidate), candidate.task
    loader = DataLoader(
        _Steps(task, steps),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
        generator=torch.Generator(),
    )
    for step, batch in zip(steps, loader, strict=True):
        require(
            same(batch, task.train_batch(step)),
            f"the training batch of step {step} is another one in a worker process; it must depend on nothing but the "
            "constructor's arguments, data_seed and step",
        )
    return f"2 workers, steps up to {steps[-1]}: {len(steps)} batches are the same"


def other_process(candidate: TaskCandidate) -> str:
    """Are the data the same in a fresh process: another hash seed, folder and time zone?"""
    task_class = candidate.task_class
    place, name = task_class.__module__, task_class.__qualname__
    if place == "__main__" or "<locals>" in name or getattr(sys.modules[place], name.partition(".")[0], None) is None:
        raise NotAsked(f"the class {name} can't be imported by name from '{place}' elsewhere")
    steps, (_, here) = steps_of(candidate), candidate.once(ground)
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "4242" if os.environ.get("PYTHONHASHSEED") != "4242" else "2424",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "TZ": "Asia/Kathmandu",
    }
    asked = json.dumps([place, name, candidate.variant.name, steps])
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            [sys.executable, "-m", __name__, asked], env=environment, cwd=folder, capture_output=True, text=True
        )
    require(
        found.returncode == 0,
        "in a process of its own, in another folder, the task fails: "
        + (found.stderr.strip().splitlines() or ["it ended without a word"])[-1],
    )
    require_same(here, json.loads(found.stdout.splitlines()[-1]), "is another one in a fresh process (hash() is, say)")
    return f"another process, hash seed, folder and time zone: {len(here)} batches and sets are the same"


def _tell(asked: str) -> None:
    """Print the hashes that another process asks for."""
    place, name, variant, steps = json.loads(asked)
    found = __import__(place, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part)
    task = found.from_variant(variant)
    print(json.dumps(prints(task, steps, task.all_sets)))


if __name__ == "__main__":
    _tell(sys.argv[1])

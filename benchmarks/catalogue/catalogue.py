"""Every task once with each of a few models, one thread, in processes of their own: what it reaches, and what it costs.

    python benchmarks/catalogue/catalogue.py                                      # every standard
    python benchmarks/catalogue/catalogue.py --variant smoke --models rnn gru dense_ae
    python benchmarks/catalogue/catalogue.py copy adding --all                    # every model that serves these two

A model that can't serve a task is left out. By default the first of `--models` that can serve it stands for all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rnnae_bench import load
from rnnae_bench.plugins.registry import models, tasks

WIDTH = {"rnn": 128, "lstm": 128, "gru": 128}
"""Units of a recurrent layer; other models keep their defaults."""


@dataclass(frozen=True)
class Row:
    """One trial of a task's variant."""

    task: str
    family: str
    model: str
    status: str
    metric: str
    value: float | None
    floor: float
    ceiling: float
    score: float | None
    steps: int
    training_seconds: float | None
    cpu_seconds: float
    """Of the whole command, start-up and evaluations included, user and system."""


def serving(task: str, variant: str, candidates: list[str]) -> list[str]:
    """Those of the candidates that can serve a task."""
    spec = tasks().get(task).load().from_variant(variant).spec
    return [name for name in candidates if models().get(name).load().supports(spec) is None]


def measure(task: str, variant: str, model: str) -> Row:
    """Run one trial as a user would, and read its record."""
    card = tasks().get(task).load().card()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "rnnae_bench", "run", "--task", f"{task}:{variant}", "--model", model]
        command += ["--threads", "1", "--out", out]
        if model in WIDTH:
            command += ["--model.hidden_size", str(WIDTH[model])]
        before = os.times()
        subprocess.run(
            command,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        after = os.times()
        record = load(Path(out))[0].record
    return Row(
        task=f"{task}:{variant}",
        family=card.family,
        model=model,
        status=record.status,
        metric=record.primary.metric,
        value=record.primary.value,
        floor=record.primary.floor,
        ceiling=record.primary.ceiling,
        score=record.primary.score,
        steps=card.variant(variant).protocol.max_steps,
        training_seconds=record.measures.by_name.get("training_seconds"),
        cpu_seconds=after.children_user + after.children_system - before.children_user - before.children_system,
    )


def main() -> None:
    """Print a line a trial as they end."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tasks", nargs="*", help="only these; by default all of the suite's own")
    options.add_argument("--variant", default="standard")
    options.add_argument("--models", nargs="+", default=["gru", "dense_ae"], help="candidates, in order")
    options.add_argument("--all", action="store_true", help="every candidate that serves the task, not the first alone")
    options.add_argument("--json", action="store_true", help="print a JSON object a line")
    chosen = options.parse_args()
    own = [name for name in tasks().names() if tasks().get(name).distribution == "rnnae-bench"]
    form = "{:28} {:16} {:10} {:8} {:22} {:>10} {:>10} {:>10} {:>7} {:>6} {:>9} {:>7}"
    if not chosen.json:
        print(form.format(*(field.name.replace("_seconds", "_s") for field in fields(Row))))
    for task in chosen.tasks or own:
        found = serving(task, chosen.variant, chosen.models)
        for model in found if chosen.all else found[:1]:
            row = asdict(measure(task, chosen.variant, model))
            if chosen.json:
                print(json.dumps(row), flush=True)
                continue
            cells = ["-" if one is None else f"{one:.4g}" if isinstance(one, float) else one for one in row.values()]
            print(form.format(*cells), flush=True)


if __name__ == "__main__":
    main()

"""Every model on every task for a few steps: which pairs run, which are refused and why, and whether any fails.

    python benchmarks/zoo/zoo.py                               # all of them, in 32-true and bf16-mixed
    python benchmarks/zoo/zoo.py --models gru lru --out runs/zoo

It is a sweep over the `smoke` variants with fewer steps, so that a run that was stopped goes on where it was. The exit
code is 1 where a trial failed.
"""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from rnnae_bench import load, sweep
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.records.record import Record

MARKS = {"ok": "+", "skipped": ""}
"""How a status is drawn; any other by its name."""


def run(task_names: list[str], model_names: list[str], precisions: list[str], steps: int, out: Path) -> list[Record]:
    """The records of all pairs, those that had one already too."""
    short = f"[protocol.max_steps={steps},protocol.evaluate_every={steps}]"
    for precision in precisions:
        sweep([f"{name}:smoke{short}" for name in task_names], model_names, precision=precision, out=out)
    return [one.record for one in load(out)]


def table(records: list[Record], task_names: list[str], model_names: list[str]) -> str:
    """Models by tasks as Markdown, of all precisions together."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        found[record.model, record.task].add(record.status)
    heads = [f"`{name}`" for name in task_names]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for model in model_names:
        cells = ["/".join(MARKS.get(one, one) for one in sorted(found[model, task])) for task in task_names]
        lines.append(f"| `{model}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run, and print the table, the reasons of refusals, and how the trials ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=tasks().names())
    parser.add_argument("--models", nargs="*", default=models().names())
    parser.add_argument("--precisions", nargs="*", default=["32-true", "bf16-mixed"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"))
    asked = parser.parse_args()
    records = run(asked.tasks, asked.models, asked.precisions, asked.steps, asked.out)
    print(table(records, asked.tasks, asked.models))
    print()
    for precision in asked.precisions:
        ended = Counter(record.status for record in records if record.environment.precision == precision)
        print(f"{precision}: " + ", ".join(f"{count} {status}" for status, count in ended.most_common()))
    print()
    reasons = Counter(
        record.failure.message.partition(": ")[2] for record in records if record.status == "skipped" and record.failure
    )
    for reason, count in reasons.most_common():
        print(f"- {count}: {reason}")
    failed = [record for record in records if record.status not in MARKS]
    for record in failed:
        said = record.failure.message if record.failure else ""
        print(f"FAILED {record.model} on {record.task}, {record.environment.precision}: {said}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

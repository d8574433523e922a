"""``rnnae-bench check``: the exam that every model, task and plugin's probe takes, on one's own."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.plugins.registry import models, parse_task, probes, tasks
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.testing.checks import Verdict

_MARKS = {"passed": "ok", "failed": "FAILED", "left out": "-"}


def parser() -> argparse.ArgumentParser:
    """The options of ``check``."""
    options = argparse.ArgumentParser(
        prog="rnnae-bench check",
        usage="rnnae-bench check model|task|probe NAME [options]",
        description="Examine a model, a task or a probe: each check with its verdict and what was seen. "
        "The same checks are pytest functions in rnnae_bench.testing.",
    )
    kinds = ("model", "task", "probe")
    options.add_argument("kind", choices=kinds, metavar="|".join(kinds), help="what is examined")
    options.add_argument(
        "name",
        metavar="NAME",
        help="a model's or a probe's NAME[OPTION=VALUE,...], or a task's NAME[:VARIANT] (smoke by default)",
    )
    options.add_argument(
        "--task",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of a model or probe: the tasks to examine it on, NAME[:VARIANT] (smoke by default); "
        "by default one of each form that the model serves, and copy for a probe",
    )
    options.add_argument(
        "--model", metavar="NAME", help="of a probe: the model that it measures; a small gru by default"
    )
    options.add_argument("--seconds", type=float, default=60.0, help="how long each check may take; 60 by default")
    options.add_argument("--quick", action="store_true", help="leave out the checks that take seconds")
    options.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return options


def main(argv: list[str]) -> int:
    """Examine what the arguments name; 1 where a check failed."""
    options = parser().parse_args(argv)
    require_positive(seconds=options.seconds)
    if options.kind == "task" and options.task:
        alone = f"a task is examined by itself: rnnae-bench check task {options.name}"
        raise UserError(f"--task is for models and probes; {alone}")
    if options.kind != "probe" and options.model:
        raise UserError(f"--model is for probes, which measure one, and this is a {options.kind}; leave it out")
    for task in [options.name] if options.kind == "task" else options.task:
        tasks().get(parse_task(parse_text(task)[0])[0])
    for model in [options.name] if options.kind == "model" else [options.model] if options.model else []:
        models().get(parse_text(model)[0])
    if options.kind == "probe":
        probes().get(parse_text(options.name)[0])
    load_libraries()
    exams, failed = [], False
    with plugins_aside():
        for title, verdicts in _exams(options):
            exams.append((title, verdicts))
            failed |= any(one.outcome == "failed" for one in verdicts)
    if options.json:
        found = [{"on": title, "checks": [asdict(one) for one in verdicts]} for title, verdicts in exams]
        json.dump(
            {"kind": options.kind, "name": options.name, "passed": not failed, "exams": found}, sys.stdout, indent=1
        )
        print()
    else:
        for title, verdicts in exams:
            _print(title, verdicts)
    return int(failed)


def _exams(options: argparse.Namespace) -> "Iterator[tuple[str, list[Verdict]]]":
    """Each exam: what it is of, and its verdicts."""
    from rnnae_bench.testing import examine_model, examine_probe, examine_task

    def tell(name: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{name}", end="", file=sys.stderr, flush=True)

    limits = {"seconds": options.seconds, "slow": not options.quick, "tell": tell}
    if options.kind == "task":
        yield options.name, examine_task(options.name, **limits)
    elif options.kind == "probe":
        measured = {"model": options.model} if options.model else {}
        for task in options.task or ("copy",):
            examined = examine_probe(options.name, task, **measured, **limits)
            yield " on ".join(one for one in (options.name, options.model, task) if one), examined
    else:
        from rnnae_bench.testing.design import tasks_for

        for task in options.task or tasks_for(options.name):
            yield f"{options.name} on {task}", examine_model(options.name, task, **limits)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print(title: str, verdicts: "list[Verdict]") -> None:
    failed = sum(one.outcome == "failed" for one in verdicts)
    asked = sum(one.outcome != "left out" for one in verdicts)
    seconds = sum(one.seconds for one in verdicts)
    print(printable(f"{title}: {asked - failed} of {asked} checks passed, in {seconds:.1f} s"), end="\n\n")
    print_table(
        ["check", "", "s", "what was seen"],
        [[one.check, _MARKS[one.outcome], f"{one.seconds:.1f}", printable(one.evidence)] for one in verdicts],
    )
    print()

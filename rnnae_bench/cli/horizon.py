"""``rnnae-bench horizon``: the longest lag at which a model still solves a task."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import RUNS

if TYPE_CHECKING:
    from rnnae_bench.api.horizons import Horizon


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench horizon",
        description="Find the longest lag at which a model solves a task within the task's steps, under each seed by "
        "itself: the option that sets the lag is doubled until it is not solved, then bisected. Each lag that is tried "
        "is an ordinary trial with a record, and is not run again where it has one.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--task", required=True, metavar="TASK", help="NAME[:VARIANT] or NAME[:VARIANT][OPTION=VALUE,...]")
    add("--model", required=True, metavar="MODEL", help="NAME or NAME[OPTION=VALUE,...]")
    add("--seed", type=int, default=0, help="the first seed (default: 0)")
    add("--seeds", type=int, default=1, help="how many seeds, counting up (default: 1); an interval needs five")
    add("--longest", type=int, default=1000, metavar="LAG", help="the longest lag to try (default: 1000)")
    about = "how close the shortest lag that is not solved has to be to the longest that is (default: 1.1, a tenth)"
    add("--ratio", type=float, default=1.1, help=about)
    about = "stop once all trials together, those measured before among them, have trained so long (30s, 10m, 2h)"
    add("--budget", metavar="TIME", help=about)
    about = "choose the model's width by weights, state, or time: parameters=10k, state=256, seconds=60"
    add("--match", metavar="QUANTITY=AMOUNT", help=about)
    add("--precision", help="a precision of Lightning's (default: 32-true)")
    add("--accelerator", help="what to train on (cpu, gpu, ...); auto, the default, takes the best there is")
    add("--workers", type=int, help="worker processes (default: as many as cores or devices and memory allow)")
    add("--threads", type=int, help="CPU threads of each worker (default: 1)")
    add("--vectorize", help="train seeds as one: auto (default), off, or how many at most")
    add("--time-limit", metavar="TIME", help="longest wall time of a trial; one that takes longer has not solved it")
    add("--out", default=RUNS, metavar="FOLDER", help=f"folder for the records (default: {RUNS})")
    add("--picture", metavar="FILE", help="draw the metric over the lag into this file (png, svg, pdf)")
    add("--json", action="store_true", help="everything as JSON, and nothing else, on standard output")
    return parser


_PASSED_ON = ("seed", "match", "precision", "accelerator", "workers", "threads", "vectorize", "time_limit")
"""Options that are a sweep's, and are left to it where they are not given."""


def main(arguments: list[str]) -> int:
    """Search, and print what was found; 1 where a trial failed for another reason than its loss."""
    options = parser().parse_args(arguments)
    from rich.console import Console

    from rnnae_bench.api.horizons import reach
    from rnnae_bench.api.sweep_progress import SweepProgress
    from rnnae_bench.records.files import require_writable_file

    picture = None if options.picture is None else Path(options.picture)
    if picture is not None:
        require_writable_file(picture, "the picture")
    passed_on = {name: value for name in _PASSED_ON if (value := getattr(options, name)) is not None}
    if options.vectorize is not None and options.vectorize.isdigit():
        passed_on["vectorize"] = int(options.vectorize)
    view = SweepProgress(Console(stderr=True))
    try:
        with view:
            chosen = {"seeds": options.seeds, "out": options.out, **passed_on}
            command = ("rnnae-bench", "horizon", *arguments)
            limits = (options.longest, options.ratio, options.budget)
            found = reach(options.task, options.model, limits, chosen, view, command)
    except KeyboardInterrupt:
        view.notes("stopped; the same command goes on with what is left")
        return 1
    if picture is not None:
        found.plot().savefig(picture)
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        _print(found)
    return 0 if all(record.status in ("ok", "diverged") for record in found.results.records) else 1


def _print(found: "Horizon") -> None:
    from rich.console import Console

    from rnnae_bench.api.horizons import HEADS
    from rnnae_bench.report.tables import empty, framed
    from rnnae_bench.report.text import Text

    table = empty()
    for head in HEADS:
        words = head in ("limited by", "tried")
        table.add_column(Text(head), justify="left" if words else "right", overflow="fold")
    for row in found.rows():
        table.add_row(*map(Text, row))
    Console().print(framed(found.sentence(), table, found.note))

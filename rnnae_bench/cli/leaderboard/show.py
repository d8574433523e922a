"""``rnnae-bench leaderboard show``: the standings in the terminal."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.cli.common import COMMITTED, RUNS, remarks_told
from rnnae_bench.cli.source import add_source, source_of

if TYPE_CHECKING:
    from rnnae_bench.rankings.overview import Overview
    from rnnae_bench.rankings.standing import Standing


def parser() -> argparse.ArgumentParser:
    """The action's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench leaderboard show",
        description="Print who is better than whom, as far as the records can tell: ranks as intervals.",
        allow_abbrev=False,
    )
    add_source(parser, described=f"{COMMITTED} if it is there, else {RUNS}")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME[:VARIANT]",
        help="only this task (all variants if none is named), without the overview",
    )
    parser.add_argument(
        "--minimum-seeds", type=int, default=5, metavar="N", help="seeds that a rank needs (default: 5; 2 at least)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything as JSON")
    form.add_argument("--markdown", action="store_true", help="the tables in Markdown")
    form.add_argument("--latex", action="store_true", help="the tables in LaTeX (booktabs), the best and its ties bold")
    return parser


def main(arguments: list[str]) -> int:
    """Print the standings; 0 also where nothing matches."""
    from rnnae_bench.api.comparing import standings

    options = parser().parse_args(arguments)
    folder = Path(source_of(options) or (COMMITTED if Path(COMMITTED).is_dir() else RUNS))
    with remarks_told():
        found = standings(folder, task=options.task, minimum_seeds=options.minimum_seeds)
    whole = found.overview
    if options.json:
        print(json.dumps(as_dict(found, whole), indent=1))
        return 0
    from rnnae_bench.report import standing_tables as tables

    if options.markdown:
        print(tables.markdown(found, whole))
        return 0
    if options.latex:
        from rnnae_bench.report import latex_tables

        print(latex_tables.standing(found, whole))
        return 0
    if not found:
        print(f"there are no records in {folder}")
        return 0
    from rich.console import Console

    console = Console()
    for table in tables.terminal(found, console):
        console.print(table)
    if whole is not None:
        console.print()
        console.print(tables.terminal_overview(whole))
    return 0


def as_dict(standings: "Sequence[Standing]", overview: "Overview | None") -> dict[str, Any]:
    """Standings and overview as plain data; keys that are pairs become lists of objects."""
    lists = ("references", "entries", "comparisons")
    return {
        "standings": [
            {
                **{name: value for name, value in vars(standing).items() if name not in lists},
                "references": [asdict(one) for one in standing.references],
                "entries": [asdict(entry) for entry in standing.entries],
                "comparisons": [asdict(one) for one in standing.comparisons.values()],
                "unequal": standing.unequal,
            }
            for standing in standings
        ],
        "overview": None
        if overview is None
        else {
            "settings": overview.settings,
            "models": overview.models,
            "scores": [
                {"model": model, "setting": setting, **asdict(estimate)}
                for (model, setting), estimate in overview.scores.items()
            ],
            "overall": {model: asdict(estimate) for model, estimate in overview.overall.items()},
            "counted": overview.counted,
            "missing": overview.missing,
            "profiles": {
                model: dict(zip(("score", "fraction", "low", "high"), (one.tolist() for one in curve), strict=True))
                for model, curve in overview.profiles.items()
            },
        },
    }

"""``rnnae-bench compare``: two models, two records, or two folders side by side; or a run on W&B beside any of them."""

import argparse
import json
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import RUNS, remarks_told

if TYPE_CHECKING:
    from rich.console import Console

    from rnnae_bench.rankings.contrast import Contrast
    from rnnae_bench.rankings.examples import Sampling
    from rnnae_bench.rankings.rows import Row
    from rnnae_bench.rankings.solving import Solving

_UNITS = {
    "training_seconds": "training seconds",
    "peak_memory_bytes": "peak memory, MiB",
    "parameters": "parameters",
    "state_size": "state size",
    "steps_to_solve": "steps to solve, median",
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench compare",
        description="Compare two models on the seeds that both have: the difference and what it costs.",
        allow_abbrev=False,
    )
    what = (
        "a model (gru, 'gru[hidden_size=64]'), a record's id or its beginning, a folder of records, or anybody's "
        "run on W&B (wandb:ENTITY/PROJECT/RUN, with the run's id), which is fetched, not run again"
    )
    parser.add_argument("first", help=what)
    parser.add_argument("second", help="the same, a folder where the first is one; or a baseline of the task")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME[:VARIANT]",
        help="only on this task (all variants if none is named; default: on all that both have)",
    )
    parser.add_argument("--model", metavar="MODEL", help="with two folders: only this model")
    parser.add_argument(
        "--from", dest="source", default=RUNS, metavar="FOLDER", help=f"folder of records (default: {RUNS})"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything as JSON")
    form.add_argument("--latex", action="store_true", help="a table in LaTeX (booktabs): difference, interval, p")
    return parser


def main(arguments: list[str]) -> int:
    """Print the comparison; 0 whatever the verdict."""
    options = parser().parse_args(arguments)
    from rnnae_bench.api.comparing import compare

    with remarks_told():
        found = compare(options.first, options.second, source=options.source, task=options.task, model=options.model)
    if options.json:
        print(json.dumps(found.as_dicts(), indent=1))
        return 0
    if options.latex:
        from rnnae_bench.report import latex_tables

        print(latex_tables.comparison(found.contrasts))
        return 0
    from rich.console import Console

    console = Console()
    for one, sampling in zip(found.contrasts, found.samplings, strict=True):
        _print(one, sampling, console)
    return 0


def _print(one: "Contrast", sampling: "Sampling", console: "Console") -> None:
    from rnnae_bench.report.standing_tables import interval
    from rnnae_bench.report.tables import empty, number, solved
    from rnnae_bench.report.text import Text
    from rnnae_bench.statistics.paired import probability

    first, second, found = one.first.entry, one.second.entry, one.comparison
    table = empty()
    for head in ("", one.first.name, one.second.name, "difference"):
        table.add_column(Text(head), justify="right" if head else "left", overflow="fold")
    metric = one.standing.metric
    difference = "-" if found.difference is None else found.difference.text(signed=True)
    table.add_row("seeds", str(len(first.values)), str(len(second.values)), f"{found.seeds} shared")
    table.add_row(Text(f"{metric}, mean"), interval(first.mean), interval(second.mean), difference)
    table.add_row(Text(f"{metric}, IQM"), interval(first.iqm), interval(second.iqm), "")
    table.add_row("score", interval(first.score), interval(second.score), "")
    gap = "" if one.solving is None else one.solving.difference.text(signed=True)
    table.add_row("solved", solved(first.row), solved(second.row), gap)
    if first.row.failures or second.row.failures:
        table.add_row("not ok", first.row.failures or "-", second.row.failures or "-", "")
    for name, (value, other, ratio) in one.costs().items():
        cells = [_amount(name, value), _amount(name, other)]
        if name == "state_size":
            cells = [_state_size(first.row), _state_size(second.row)]
        table.add_row(_UNITS[name], *cells, "-" if ratio is None else f"x {ratio:.3g}")
    console.print(Text(one.sentence(), style="bold"))
    console.print(table)
    if found.superiority is not None:
        console.print(Text(f"a trial of {one.first.name} is better with probability {interval(found.superiority)}"))
    if found.p is not None:
        console.print(Text(f"paired t test of these two alone, on {found.seeds} shared seeds: {probability(found.p)}"))
    if one.among is not None:
        corrected, verdict = one.among
        console.print(
            Text(
                f"among all pairs of the {one.ranked} ranked rows of {one.standing.setting}, which 'leaderboard show' "
                f"tests together: {probability(corrected)}, {verdict}"
            )
        )
    if one.solving is not None:
        console.print(Text(_of_solving(one.solving)))
    console.print(Text(_over_examples(one, sampling)))
    differing = one.configuration()
    if differing:
        options = empty()
        for head in ("differs", one.first.name, one.second.name):
            options.add_column(Text(head), overflow="fold")
        for name, values in differing.items():
            options.add_row(*map(Text, (name, *("-" if value is None else str(value) for value in values))))
        console.print(options)
    elif not one.first.is_baseline and not one.second.is_baseline:
        console.print(Text("the configurations are the same"))
    console.print(Text(f"floor {number(one.standing.floor)}; brackets: 95 % confidence", style="dim italic"))
    console.print()


def _of_solving(found: "Solving") -> str:
    """Whether one solves the task more often, or sooner, than the other."""
    from rnnae_bench.statistics.paired import probability

    said = f"solved as often: {probability(found.p)} (Fisher's exact test)"
    if found.more_seeds:
        seeds = f"seed{'s' * (found.more_seeds != 1)}"
        said += f", about {found.more_seeds} more {seeds} each would probably show a difference of this size"
    if found.log_rank is None:
        return f"{said}; none reached the threshold on the validation set"
    return f"{said}; as soon: {probability(found.log_rank)} (log-rank test, censored at the budget)"


def _over_examples(one: "Contrast", sampling: "Sampling") -> str:
    """What the difference would be on other test examples, beside what it would be under other seeds."""
    found = sampling.difference
    if found is None or found.low is None or found.high is None:
        return f"over seeds only, on these test examples: {sampling.absent}"
    seeds = f"trial{'s' * (sampling.seeds != 1)} of {sampling.seeds} shared seed{'s' * (sampling.seeds != 1)}"
    said = (
        f"over test examples: {one.standing.metric} {found.text(signed=True)}, if others than these "
        f"{sampling.examples:,} were drawn for the same {seeds} (paired bootstrap); all else is over seeds"
    )
    covers_zero = found.low <= 0 <= found.high
    if covers_zero and one.comparison.verdict in ("better", "worse"):
        said += ". The difference is established on these test examples, and may be another's on others"
    if not covers_zero and one.comparison.verdict == "tied":
        said += ". These trials differ beyond these test examples, and other seeds' might not"
    return said


def _state_size(row: "Row") -> str:
    if row.state_size_per_step is not None:
        return f"{row.state_size_per_step:,}/step"
    return _amount("state_size", row.state_size)


def _amount(name: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    value = value / 2**20 if name == "peak_memory_bytes" else value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""The lags that were tried, as a picture: the metric over the lag, a colour a seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnae_bench.report.figure import Picture


def figure(
    title: str, option: str, metric: str, solved_at: float, median: float, seeds: Sequence[Mapping[str, Any]]
) -> Picture:
    """One panel; what solved is a full dot, what did not a cross, the median over the seeds a line.

    Args:
        title: What it is of.
        option: The task's option that sets the lag.
        metric: The primary metric's name.
        solved_at: The value that counts as solved.
        median: Of the seeds' longest solved lags.
        seeds: What was tried of each, as `rnnae_bench.sweeps.horizon.plain` tells it.
    """
    picture = Picture(6.0, 3.2)
    axes = picture.add_subplot()
    for place, one in enumerate(seeds):
        measured = [each for each in one["tried"] if each["value"] is not None]
        lags, values = [each["lag"] for each in measured], [each["value"] for each in measured]
        axes.plot(lags, values, color=f"C{place % 10}", linewidth=0.8, alpha=0.6, label=f"seed {one['seed']}")
        for marker, flag in (("o", True), ("x", False)):
            chosen = [each for each in measured if each["solved"] is flag]
            places = [each["lag"] for each in chosen], [each["value"] for each in chosen]
            axes.scatter(*places, color=f"C{place % 10}", marker=marker, s=24)
    axes.axhline(solved_at, color="0.5", linewidth=0.8, linestyle=":")
    if median > 0:
        axes.axvline(median, color="0.5", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel=option, ylabel=metric)
    # A line for the task and one for the model; small, since either may have many options.
    axes.set_title(title.replace("$", r"\$").replace(" ", "\n", 1), fontsize="small", wrap=True)
    if len(seeds) <= 10:
        axes.legend(fontsize="small")
    return picture

"""Pictures of the dynamics of a model's recurrences, as PNG and in the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnae_bench.report.heatmaps import new_figure
from rnnae_bench.report.terminal_curve import terminal_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(title: str, layers: Sequence[Mapping[str, Any]], memory: Mapping[str, Any] | None = None) -> "Figure":
    """A row for each layer: singular values over time, Lyapunov exponents, gradient norms by lag. Below, the memory.

    Args:
        title: Stands above.
        layers: As from ``LayerDynamics.summary``.
        memory: As from ``Passport.summary``; None where it was not measured.
    """
    rows = len(layers) + (memory is not None)
    drawn: Figure = new_figure(12.0, 0.6 + 2.9 * rows)
    drawn.suptitle(title)
    grid = drawn.subplots(rows, 3, squeeze=False)
    if memory is not None:
        _linear_memory(grid[-1][0], memory)
        _capacities(grid[-1][1], memory)
        _known_inputs(grid[-1][2], memory)
    drawings = {
        "largest_singular_value": _singular_values,
        "lyapunov_exponents": _exponents,
        "gradient_norm": _gradients,
    }
    for row, layer in zip(grid, layers, strict=False):
        for axes, (quantity, draw) in zip(row, drawings.items(), strict=True):
            if layer[quantity]:
                draw(axes, layer)
            else:
                axes.remove()
    return drawn


def _singular_values(axes: Any, layer: Mapping[str, Any]) -> None:
    values = layer["largest_singular_value"]["by_step"]
    steps = np.array(values["step"])
    axes.plot(steps, values["median"], linewidth=1.2, label="median over sequences")
    axes.fill_between(steps, values["min"], values["max"], alpha=0.2, linewidth=0, label="smallest to largest")
    axes.axhline(1, color="gray", linestyle=":", linewidth=1)
    axes.set_title(f"{layer['layer']}: largest singular value of $J_t$", fontsize="medium")
    axes.set_xlabel("step, as the direction reads")
    axes.legend(fontsize="small")


def _exponents(axes: Any, layer: Mapping[str, Any]) -> None:
    exponents = layer["lyapunov_exponents"]
    mean = np.array(exponents["mean"])
    spread = None if exponents["standard_deviation"] is None else np.array(exponents["standard_deviation"])
    known = np.isfinite(mean)
    places = np.arange(1, len(mean) + 1)
    axes.errorbar(places[known], mean[known], None if spread is None else spread[known], fmt="o", capsize=3)
    axes.axhline(0, color="gray", linestyle=":", linewidth=1)
    axes.set_xticks(places)
    axes.set_title("Lyapunov exponents, ± standard deviation", fontsize="medium")
    axes.set_xlabel("number")
    axes.set_ylabel("nats per step")


def _gradients(axes: Any, layer: Mapping[str, Any]) -> None:
    for state, found in layer["gradient_norm"].items():
        lags = np.arange(len(found["log10_mean"]))
        label = f"{state}: geometric mean, 10-90 %"
        axes.plot(lags, found["log10_mean"], ".-", markersize=3, linewidth=1.2, label=label)
        axes.fill_between(lags, found["log10_q10"], found["log10_q90"], alpha=0.2, linewidth=0)
    axes.set_title(layer["layer"] + r": $\log_{10}\Vert\partial L/\partial s_t\Vert_2$", fontsize="medium")
    axes.set_xlabel("lag (steps back from the last scored step)")
    axes.legend(fontsize="small")


def _linear_memory(axes: Any, memory: Mapping[str, Any]) -> None:
    by_lag = np.array(memory["linear_memory"]["by_lag"])
    axes.plot(np.arange(len(by_lag)), by_lag, ".-", markersize=3, linewidth=1.2)
    axes.set_title(f"linear memory capacity by lag, {by_lag.sum():.1f} in all", fontsize="medium")
    axes.set_xlabel("lag (steps back)")
    axes.set_ylim(bottom=0)


def _capacities(axes: Any, memory: Mapping[str, Any]) -> None:
    by_degree = memory["information_processing"]["by_degree"]
    bars = axes.bar(list(by_degree), list(by_degree.values()), width=0.6)
    axes.bar_label(bars, fmt="%.1f", fontsize="small")
    axes.axhline(memory["rank"], color="gray", linestyle=":", linewidth=1)
    axes.set_ylim(0, 1.12 * memory["rank"])
    axes.set_title(f"information processing capacity, of {memory['rank']} at most", fontsize="medium")
    axes.set_xlabel("degree of the target")


def _known_inputs(axes: Any, memory: Mapping[str, Any]) -> None:
    known = memory["known_inputs"]
    if not known:
        axes.remove()
        return
    lags = [one["lag"] for one in known]
    axes.plot(lags, [one["entropy"] for one in known], color="gray", linestyle=":", linewidth=1, label="there are")
    axes.plot(lags, [one["bits"] for one in known], ".-", markersize=4, linewidth=1.2, label="known, at least")
    axes.set_title("bits of the task's input, by lag", fontsize="medium")
    axes.set_xlabel("lag (steps back from the last scored step)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def terminal_picture(layers: Sequence[Mapping[str, Any]], width: int = 52, height: int = 10) -> str:
    """The first gradient norms by lag, drawn with braille dots; empty where fewer than two lags are known."""
    shown = ((layer["layer"], *one) for layer in layers for one in layer["gradient_norm"].items())
    name, state, found = next(shown)
    mean = np.array(found["log10_mean"])
    lags = np.flatnonzero(np.isfinite(mean))
    if len(lags) < 2:
        return ""
    curve = terminal_curve(
        lags, mean[lags], float(lags[-1]), ("lag", "log10"), lambda exponent: f"{exponent:.1f}", width, height
    )
    return f"gradient norm by lag: {name} {state}, loss of the last scored step alone\n{curve}"

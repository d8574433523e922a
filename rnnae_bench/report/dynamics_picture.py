"""Pictures of the dynamics of a model's recurrences, as PNG and in the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnae_bench.report.heatmaps import new_figure
from rnnae_bench.report.terminal_curve import terminal_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(title: str, layers: Sequence[Mapping[str, Any]]) -> "Figure":
    """A row for each layer: singular values over time, Lyapunov exponents, gradient norms by lag.

    Args:
        title: Stands above.
        layers: As from ``LayerDynamics.summary``.
    """
    drawn: Figure = new_figure(12.0, 0.6 + 2.9 * len(layers))
    drawn.suptitle(title)
    drawings = {
        "largest_singular_value": _singular_values,
        "lyapunov_exponents": _exponents,
        "gradient_norm": _gradients,
    }
    for row, layer in zip(drawn.subplots(len(layers), 3, squeeze=False), layers, strict=True):
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

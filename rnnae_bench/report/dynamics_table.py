"""The dynamics of a model on a task, in words and numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnae_bench.report.tables import number


def title(report: Mapping[str, Any]) -> str:
    """Model, task, seed and training in a line."""
    when = f"after {report['after']} optimiser steps" if report["after"] else "before training"
    return f"{report['model']} on {report['task']}:{report['variant']}, seed {report['seed']}, {when}"


def table(layers: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each quantity, a column for each layer, the first row of heads.

    Args:
        layers: As from ``LayerDynamics.summary``.
    """
    columns = [dict(_column(layer)) for layer in layers]
    heads = dict.fromkeys(head for column in columns for head in column)
    rows = [[head, *(column.get(head, "-") for column in columns)] for head in heads]
    return [["", *(layer["layer"] for layer in layers)], *rows]


def _column(layer: Mapping[str, Any]) -> list[tuple[str, str]]:
    vanilla = "h" in layer["spectral_radius"]
    cells = [
        (f"{quantity} of W_hh{'' if vanilla else f', gate {gate}'}", number(value))
        for quantity, key in (("spectral radius", "spectral_radius"), ("2-norm", "spectral_norm"))
        for gate, value in layer[key].items()
    ]
    singular, exponents = layer["largest_singular_value"], layer["lyapunov_exponents"]
    if singular is not None:
        cells += [(f"singular value of J_t, {of}", number(singular[of])) for of in ("median", "max")]
    for place, mean in enumerate([] if exponents is None else exponents["mean"]):
        spread = (exponents["standard_deviation"] or {place: None})[place]
        cell = number(mean) if spread is None else f"{number(mean)} ± {spread:.2g}"
        cells.append((f"Lyapunov exponent {place + 1} (nats per step)", cell))
    for state, found in layer["gradient_norm"].items():
        cells.append((f"decay rate of |dL/d{state}| (nats per lag)", number(found["decay_rate"])))
        cells.append((f"effective horizon of |dL/d{state}| (steps)", number(found["effective_horizon"])))
    return cells

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
    for gate, found in layer["gates"].items():
        cells.append((f"gate {gate}, mean", number(found["mean"])))
        cells.append((f"gate {gate}, below .1 / above .9", f"{found['closed']:.0%} / {found['open']:.0%}"))
    kept = {f"gate {gate}": found for gate, found in layer["gate_time_constant"].items()}
    if layer["mode_time_constant"] is not None:
        kept["modes of J_t"] = layer["mode_time_constant"]
    for what, found in kept.items():
        cells.append((f"time constant of {what}, median", number(found["median"])))
        cells.append((f"time constant of {what}, longest", number(found["longest"])))
    for state, found in layer["gradient_norm"].items():
        cells.append((f"decay rate of |dL/d{state}| (nats per lag)", number(found["decay_rate"])))
        cells.append((f"effective horizon of |dL/d{state}| (steps)", number(found["effective_horizon"])))
    return cells


def memory_table(memory: Mapping[str, Any]) -> list[list[str]]:
    """The memory passport, a row for each quantity, the first row of heads.

    Args:
        memory: As from ``Passport.summary``.
    """
    capacity, units = memory["information_processing"], memory["units"]
    until = memory["known_until"]
    rows = [
        ["numbers that the head reads", f"{units}"],
        ["independent ones among them, the most that the capacities can be", f"{memory['rank']}"],
        ["that never change", f"{memory['dead_units']}"],
        ["linear memory capacity", f"{memory['linear_memory']['total']:.2f}"],
        *(
            [f"information processing capacity, degree {degree}", f"{total:.2f}"]
            for degree, total in capacity["by_degree"].items()
        ),
        ["information processing capacity, all degrees", f"{capacity['total']:.2f}"],
        ["kernel rank: directions after different inputs", f"{memory['kernel_rank']}"],
        ["generalisation rank: the same, of streams that end alike", f"{memory['generalisation_rank']}"],
        ["largest lag at which half of the input is known", "-" if until is None else f"{until}"],
    ]
    return [["memory", ""], *rows]


def lags_table(memory: Mapping[str, Any]) -> list[list[str]]:
    """What is held of past inputs by lag, for twelve lags at most, the first row of heads.

    Args:
        memory: As from ``Passport.summary``.
    """
    by_lag = memory["linear_memory"]["by_lag"]
    known = {one["lag"]: one for one in memory["known_inputs"]}
    lags = [*known] or [lag for lag in (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64, len(by_lag) - 1) if lag < len(by_lag)]
    shown = [lags[place * (len(lags) - 1) // 11] for place in range(12)] if len(lags) > 12 else lags
    rows = []
    for lag in shown:
        bits = [number(known[lag][what]) for what in ("bits", "entropy")] if lag in known else ["-", "-"]
        rows.append([f"{lag}", f"{by_lag[lag]:.2f}", *bits])
    return [["lag", "linear capacity", "bits known, at least", "bits there are"], *rows]

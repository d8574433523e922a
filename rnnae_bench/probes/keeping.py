"""For how long a recurrence keeps its state: its gates, and the modes of its Jacobians.

What is multiplied by a at each step is down to 1/e after -1 / ln a steps: its time constant.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.recurrence.dynamics import Linearization

CLOSED, OPEN = 0.1, 0.9
"""Below the first and above the second a gate counts as saturated (Karpathy, Johnson & Fei-Fei 2015, section 4.2)."""

MODE_STEPS = 8
"""Steps of a sequence at which the Jacobian's eigenvalues are taken, at most, evenly spread."""


def openness(
    gates: Mapping[str, Float[Tensor, "time batch hidden"]], considered: Bool[Tensor, "time batch"]
) -> dict[str, dict[str, float]]:
    """By gate: its mean, and the shares of units and steps at which it is nearly closed and nearly open.

    Args:
        gates: Each between 0 and 1.
        considered: The steps that are looked at.
    """
    found = {}
    for name, gate in gates.items():
        seen = gate[considered]
        shares = {"mean": seen, "closed": (seen < CLOSED).double(), "open": (seen > OPEN).double()}
        found[name] = {what: float(one.mean()) for what, one in shares.items()}
    return found


def gate_time_constants(
    gate: Float[Tensor, "time batch hidden"], considered: Bool[Tensor, "time batch"]
) -> dict[str, float]:
    """The time constants of the units that a gate keeps: -1 over the mean of ln a, over steps and sequences.

    So that after many steps a unit is down to exactly what its gate left of it (for a constant gate: Tallec & Ollivier
    2018, Can recurrent neural networks warp time?).
    """
    return _spread(-1 / gate[considered].log().mean(dim=0).numpy())


@torch.no_grad()
def mode_time_constants(linearization: Linearization) -> dict[str, float] | None:
    """Those of the modes of single steps: -1 / ln |lambda|, of all eigenvalues of J_t that shrink.

    Of a recurrence that is diagonal they are those of its numbers. ``growing`` is the share of modes with |lambda| of 1
    or more, which have none; a mode that a step forgets at once has 0. None for states too large for Jacobians as
    matrices.
    """
    if not linearization.is_dense:
        return None
    span = linearization.span
    steps = sorted({span[place] for place in np.linspace(0, len(span) - 1, MODE_STEPS).round().astype(int)})
    moduli = torch.cat(
        [torch.linalg.eigvals(linearization.jacobian(t)[linearization.considered[t]]).abs().flatten() for t in steps]
    )
    shrinking = moduli[moduli < 1]
    growing = 1 - len(shrinking) / len(moduli)
    return {**_spread(-1 / shrinking.log().numpy()), "growing": growing}


def _spread(constants: Float[np.ndarray, " units"]) -> dict[str, Any]:
    if not len(constants):
        return dict.fromkeys(("q10", "median", "q90", "longest"))
    q10, median, q90 = np.quantile(constants, (0.1, 0.5, 0.9)).tolist()
    return {"q10": q10, "median": median, "q90": q90, "longest": float(constants.max())}

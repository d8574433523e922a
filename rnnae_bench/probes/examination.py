"""What the recurrences of a model do to states and gradients on one batch: an examination on demand, not a callback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.probes.gradient_flow import COLUMNS, by_lag, over_batch
from rnnae_bench.probes.last_step import lag_origin, last_step_loss
from rnnae_bench.records.profile import decay_rate, effective_horizon, typical
from rnnae_bench.recurrence.conversion import recordings_of
from rnnae_bench.recurrence.dynamics import Linearization, recurrent_matrices, spectral_norm, spectral_radius
from rnnae_bench.recurrence.recording import Recording, joined


@dataclass(frozen=True)
class LayerDynamics:
    """One layer and direction of a recurrence, on one batch, in float64. Steps are in the order in which it reads."""

    layer: str
    """As ``recurrence.l0_reverse``."""
    spectral_radii: dict[str, float]
    """Of W_hh, by gate."""
    spectral_norms: dict[str, float]
    """2-norms of W_hh, by gate."""
    singular_values: Float[np.ndarray, "time batch"]
    """The largest singular value of the Jacobian J_t = ds_t/ds_(t-1); NaN where there is no such step."""
    exponents: Float[np.ndarray, "batch count"]
    """Lyapunov exponents in nats per step."""
    gradients: dict[str, Float[np.ndarray, "columns lags"]]
    """By state (h, c): log10 ||dL/dh_t|| by lag back from the last scored step, for the loss of that step alone: the
    columns of `rnnae_bench.probes.gradient_flow.over_batch`."""

    def summary(self) -> dict[str, Any]:
        """All that is to be said of it, ready for JSON but for numbers that are not finite."""
        steps = np.flatnonzero(np.isfinite(self.singular_values).any(axis=1))
        shown = self.singular_values[steps]
        rows = len(self.exponents)
        return {
            "layer": self.layer,
            "spectral_radius": self.spectral_radii,
            "spectral_norm": self.spectral_norms,
            "largest_singular_value": {
                "median": float(np.nanmedian(shown)),
                "max": float(np.nanmax(shown)),
                "by_step": {
                    "step": steps.tolist(),
                    **{name: of(shown, axis=1).tolist() for name, of in _OVER_SEQUENCES.items()},
                },
            },
            "lyapunov_exponents": {
                "mean": self.exponents.mean(axis=0).tolist(),
                "standard_deviation": self.exponents.std(axis=0, ddof=1).tolist() if rows > 1 else None,
            },
            "gradient_norm": {state: _profile(found) for state, found in self.gradients.items()},
        }


_OVER_SEQUENCES: dict[str, Callable[..., np.ndarray]] = {
    "median": np.nanmedian,
    "min": np.nanmin,
    "max": np.nanmax,
}


def _profile(found: Float[np.ndarray, "columns lags"]) -> dict[str, Any]:
    by_name = dict(zip(COLUMNS, found, strict=True))
    most = typical(by_name[""], by_name["/alive"], by_name["/dead"])
    return {
        "log10_mean": by_name[""].tolist(),
        "log10_q10": by_name["/q10"].tolist(),
        "log10_q90": by_name["/q90"].tolist(),
        "share_alive": by_name["/alive"].tolist(),
        "decay_rate": decay_rate(most),
        "effective_horizon": effective_horizon(most),
    }


def examine(
    model: nn.Module,
    task: Task,
    batch: Batch,
    count: int = 4,
    last: int | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[LayerDynamics]:
    """The dynamics of every recurrence in the model, layer by layer, on a batch of its task.

    The model is run once, in evaluation mode and in float64, to which its weights are converted for good. A recurrence
    that is called several times is looked at as one where its calls are pieces of one sequence.

    Args:
        model: With stacks of this suite, or recurrences of ``torch.nn``, in it.
        task: Gives the loss.
        batch: What the model is run on.
        count: How many Lyapunov exponents to estimate; at most as many as there are.
        last: At how many steps at the end of each sequence Jacobians and exponents are looked at; None for all.
        progress: Told how much of how much is done.

    Raises:
        UserError: there is no recurrence in the model, or it can't be run so.
    """
    recordings = _run(model, task, batch)
    places = [
        (name, recording, passage, Linearization.of(recording, passage, last))
        for name, recording in recordings.items()
        for layer in recording.layers
        for passage in layer
    ]
    done, total = 0, sum(len(linearization.span) + linearization.frame_steps for *_, linearization in places)

    def advance() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    gradients = {name: _gradients(recording, task.spec, batch) for name, recording in recordings.items()}
    found = []
    for name, recording, passage, linearization in places:
        matrices = recurrent_matrices(recording.stack, passage.name)
        exponents = min(count, linearization.initial.shape[-1])
        found.append(
            LayerDynamics(
                passage.layer(name),
                {gate: float(spectral_radius(matrix)) for gate, matrix in matrices.items()},
                {gate: float(spectral_norm(matrix)) for gate, matrix in matrices.items()},
                linearization.largest_singular_values(advance).numpy(),
                linearization.lyapunov_exponents(exponents, advance).numpy(),
                gradients[name][passage.name],
            )
        )
    return found


def _run(model: nn.Module, task: Task, batch: Batch) -> dict[str, Recording]:
    """Run forwards, and backwards from the loss of the last scored step; the recording of each recurrence."""
    model.double().eval()
    batch = batch.map(lambda one: one.double() if one.is_floating_point() else one)
    with recordings_of(model) as recordings, _double_precision():
        try:
            loss = last_step_loss(task, training_prediction(model, batch, task.spec), batch)
            loss.backward()
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"the model can't be run in double precision outside a trial: {reason}") from error
    found = {}
    for name, passes in recordings.items():
        try:
            if passes:
                found[name] = joined(passes)
        except UserError as error:
            raise UserError(f"the recurrence {name} can't be examined: {error}") from error
    if not found:
        raise UserError(
            "the model runs no recurrence that can be examined; these can: the stacks of rnnae_bench.recurrence, and "
            "torch.nn.RNN, LSTM and GRU (without projections and parametrizations)"
        )
    return found


def _gradients(recording: Recording, spec: TaskSpec, batch: Batch) -> dict[str, dict[str, np.ndarray]]:
    """Profiles by passage and state."""
    recovered = recording.recover()
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer in recording.layers:
        for passage in layer:
            origin = lag_origin(spec, recording.steps, passage.backward, "last_step", batch.mask)
            lags = int(origin.max()) + 1
            found[passage.name] = {
                state: over_batch(by_lag(delta.log_norm, origin, lags)).numpy()
                for state, delta in recovered[passage.name].items()
            }
    return found


@contextmanager
def _double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

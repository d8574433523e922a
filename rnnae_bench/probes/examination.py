"""What a model does to states and gradients through time on one batch: an examination on demand, not a callback."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.probes.double import double_by_default, in_double
from rnnae_bench.probes.flows import Watch
from rnnae_bench.probes.gradient_flow import COLUMNS, by_lag, over_batch
from rnnae_bench.probes.keeping import gate_time_constants, mode_time_constants, openness
from rnnae_bench.probes.last_step import lag_origin, last_step_loss
from rnnae_bench.probes.misplaced import misplaced
from rnnae_bench.probes.pieces import steps_of
from rnnae_bench.probes.stepped import linearization
from rnnae_bench.probes.watched import by_step
from rnnae_bench.records.profile import decay_rate, effective_horizon, typical
from rnnae_bench.recurrence.dynamics import Linearization, recurrent_matrices, spectral_norm, spectral_radius
from rnnae_bench.recurrence.recording import Recording, joined


@dataclass(frozen=True)
class LayerDynamics:
    """One layer and direction of a recurrence, on one batch, in float64. Steps are in the order in which it reads."""

    layer: str
    """As ``recurrence.l0_reverse``; ``inputs`` for what the model reads."""
    rows: int
    """How many sequences."""
    spectral_radii: dict[str, float]
    """Of W_hh, by gate."""
    spectral_norms: dict[str, float]
    """2-norms of W_hh, by gate."""
    gradients: dict[str, Float[np.ndarray, "columns lags"]]
    """By state (h, c): log10 ||dL/dh_t|| by lag back from the last scored step, for the loss of that step alone: the
    columns of `rnnae_bench.probes.gradient_flow.over_batch`."""
    singular_values: Float[np.ndarray, "time batch"] | None = None
    """The largest singular value of the Jacobian J_t = ds_t/ds_(t-1); NaN where there is no such step. None where
    there are no Jacobians: of a loop that shows its states by `BenchModule.watch` alone, and of inputs."""
    exponents: Float[np.ndarray, "batch count"] | None = None
    """Lyapunov exponents in nats per step; None where there are no Jacobians."""
    gates: dict[str, dict[str, float]] = field(default_factory=dict)
    """By gate, how open it is (`rnnae_bench.probes.keeping.openness`)."""
    gate_time_constants: dict[str, dict[str, float]] = field(default_factory=dict)
    """Steps for which the gate that keeps the state does so, by the gate's name."""
    mode_time_constants: dict[str, float] | None = None
    """The same of the modes of J_t; None where there are no Jacobians."""
    note: str | None = None
    """Why there are no Jacobians, where a state has none."""

    def summary(self) -> dict[str, Any]:
        """All that is to be said of it, ready for JSON but for numbers that are not finite."""
        return {
            "layer": self.layer,
            "spectral_radius": self.spectral_radii,
            "spectral_norm": self.spectral_norms,
            "largest_singular_value": None if self.singular_values is None else _stretching(self.singular_values),
            "lyapunov_exponents": None if self.exponents is None else _over_rows(self.exponents),
            "gates": self.gates,
            "gate_time_constant": self.gate_time_constants,
            "mode_time_constant": self.mode_time_constants,
            "gradient_norm": {state: _profile(found) for state, found in self.gradients.items()},
        }


def _stretching(singular_values: Float[np.ndarray, "time batch"]) -> dict[str, Any]:
    steps = np.flatnonzero(np.isfinite(singular_values).any(axis=1))
    shown = singular_values[steps]
    return {
        "median": float(np.nanmedian(shown)),
        "max": float(np.nanmax(shown)),
        "by_step": {
            "step": steps.tolist(),
            **{name: of(shown, axis=1).tolist() for name, of in _OVER_SEQUENCES.items()},
        },
    }


def _over_rows(exponents: Float[np.ndarray, "batch count"]) -> dict[str, Any]:
    return {
        "mean": exponents.mean(axis=0).tolist(),
        "standard_deviation": exponents.std(axis=0, ddof=1).tolist() if len(exponents) > 1 else None,
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

    The model is run once, in evaluation mode and in double precision, to which its weights are converted for good. A
    recurrence that is called several times is looked at as one where its calls are pieces of one sequence. Of a loop of
    the model's own there are the gradients that reach the states that it shows, and, of a `step`, the rest too: its
    Jacobians are those of the whole state, all parts side by side, under the name ``step``. Last come the gradients
    that reach the inputs, of whatever model.

    Args:
        model: Whatever has a forward pass.
        task: Gives the loss.
        batch: What the model is run on.
        count: How many Lyapunov exponents to estimate; at most as many as there are.
        last: At how many steps at the end of each sequence Jacobians and exponents are looked at; None for all.
        progress: Told how much of how much is done.

    Raises:
        UserError: nothing of the model can be examined, or it can't be run so.
    """
    with double_by_default():
        in_double(model).eval()
        batch = batch.map(lambda one: one.double() if one.is_floating_point() else one)
        watch = _watched(model, task, batch)
        recordings = _joined(watch.recordings)
        shown, inputs = _by_layer(watch, model, task.spec, batch)
        if not (recordings or shown or inputs):
            raise UserError(
                "the model runs no recurrence that can be examined (the stacks of rnnae_bench.recurrence, and "
                "torch.nn.RNN, LSTM and GRU without projections and parametrizations), shows no states by `watch` or "
                "`step`, and reads its inputs in no known way"
            )
        places = [
            _Place(
                passage.layer(name),
                Linearization.of(recording, passage, last),
                gradients[passage.name],
                matrices,
                recording.stack.gates(passage),
                recording.stack.keeping_gate,
            )
            for name, recording in recordings.items()
            for gradients in [_gradients(recording, task.spec, batch)]
            for layer in recording.layers
            for passage in layer
            for matrices in [recurrent_matrices(recording.stack, passage.name)]
        ]
        note = "there are no Jacobians and exponents of states that `watch` shows; a model with a `step` has them"
        if shown and isinstance(model, SequenceModel) and model.has_step and not recordings:
            try:
                stepped = linearization(model, model.embedding(batch.inputs), steps_of(task.spec, batch), last)
                # The Jacobians are those of all layers together.
                layer, gradients = shown.popitem() if len(shown) == 1 else ("step", {})
                places.append(_Place(layer, stepped, gradients, {}))
                note = "its Jacobians and exponents are those of all layers' states together, under the name step"
            except UserError as error:
                note = str(error)
        done, total = 0, sum(one.steps for one in places)

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        found = [one.examined(count, advance) for one in places]
    rows = len(batch.inputs)
    found += [LayerDynamics(layer, rows, {}, {}, gradients, note=note) for layer, gradients in shown.items()]
    return found + [LayerDynamics(layer, rows, {}, {}, gradients) for layer, gradients in inputs.items()]


class _Place(NamedTuple):
    """One layer with its Jacobians."""

    layer: str
    linearization: Linearization
    gradients: dict[str, np.ndarray]
    matrices: dict[str, Tensor]
    gates: Mapping[str, Tensor] = MappingProxyType({})
    keeping_gate: str | None = None

    @property
    def steps(self) -> int:
        """How often `examined` calls `advance`."""
        return len(self.linearization.span) + self.linearization.frame_steps

    def examined(self, count: int, advance: Callable[[], object]) -> LayerDynamics:
        """Its dynamics, with so many Lyapunov exponents at most."""
        considered, keeps = self.linearization.considered, self.keeping_gate
        return LayerDynamics(
            self.layer,
            len(self.linearization.initial),
            {gate: float(spectral_radius(matrix)) for gate, matrix in self.matrices.items()},
            {gate: float(spectral_norm(matrix)) for gate, matrix in self.matrices.items()},
            self.gradients,
            self.linearization.largest_singular_values(advance).numpy(),
            self.linearization.lyapunov_exponents(min(count, self.linearization.initial.shape[-1]), advance).numpy(),
            openness(self.gates, considered),
            {} if keeps is None else {keeps: gate_time_constants(self.gates[keeps], considered)},
            mode_time_constants(self.linearization),
        )


def _watched(model: nn.Module, task: Task, batch: Batch) -> Watch:
    """Run forwards, and backwards from the loss of the last scored step, under a watch."""
    watch = Watch(model, task.spec, batch)
    with closing(watch), nullcontext() if watch.recordings else by_step(model):
        try:
            loss = last_step_loss(task, training_prediction(model, batch, task.spec), batch)
            watch.differentiate(loss)
        except Exception as error:
            reason = f"{type(error).__name__}: {in_a_line(error)}"
            raise UserError(f"the model can't be run in double precision outside a trial: {reason}") from error
    return watch


def _joined(recordings: Mapping[str, Sequence[Recording]]) -> dict[str, Recording]:
    found = {}
    for name, passes in recordings.items():
        try:
            if passes:
                found[name] = joined(passes)
        except UserError as error:
            raise UserError(f"the recurrence {name} can't be examined: {error}") from error
    return found


_Gradients = dict[str, dict[str, np.ndarray]]
"""Profiles by layer and state."""


def _by_layer(watch: Watch, model: nn.Module, spec: TaskSpec, batch: Batch) -> tuple[_Gradients, _Gradients]:
    """The profiles of the states that the model shows by itself, and those of its inputs, where they are known.

    Raises:
        UserError: the model shows what are not the states of the batch.
    """
    lost = misplaced(model, batch, spec) if watch.shown else {}

    def origins(lengths: Tensor, backward: bool) -> Tensor:
        return lag_origin(spec, lengths, backward, "last_step", batch.mask)

    flows, absent = watch.flows(origins, lost)
    for name in watch.shown.keys() & absent.keys():
        raise UserError(absent[name])
    shown: _Gradients = {}
    inputs: _Gradients = {}
    for flow in flows:
        wanted = inputs if flow.probe == "input_saliency" else shown
        if wanted is inputs or f"{flow.layer}/{flow.state}" in watch.shown:
            profile = over_batch(by_lag(flow.log_norm, flow.origin, int(flow.origin.max()) + 1))
            wanted.setdefault(flow.layer, {})[flow.state] = profile.numpy()
    return shown, inputs


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

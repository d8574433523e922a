"""The memory passport of a model: what the states that its head reads hold of past inputs.

Capacities and ranks are taken under independent inputs that are uniform: numbers in [-1, 1], or symbols. What is known
of a past input in bits is taken on the task's own rows, at the last scored step, from where gradients are counted too.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Tokens
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.probes.double import double_by_default, in_double
from rnnae_bench.probes.last_step import scored_steps
from rnnae_bench.probes.pieces import steps_of
from rnnae_bench.statistics import memory

DEGREES = 3
"""Up to this degree information processing capacity is looked for."""

MOST = {1: 10_000, 2: 2_000, 3: 2_000}
"""Targets of a degree at most, those of recent inputs first."""

STEPS = 200
"""Steps of each driven sequence that are sampled, after as many as there are lags."""

SHARED = 10
"""Last inputs that the streams of the generalisation rank have in common."""

FITTED, HELD_OUT = 1000, 500
"""Rows of the task on which a linear classifier is fitted, and evaluated, at most."""

LEVELS = 8
"""Parts of equal probability into which a number is cut, so that there are bits of it to be known."""

LEAST = 0.1
"""Bits that there must be to know, for an input to count as known or not."""

_SAMPLES, _SAMPLES_A_UNIT = 20_000, 50
_CHUNK = 200
"""Targets that are held at once."""


@dataclass(frozen=True)
class Passport:
    """What a model's states hold of its past inputs."""

    units: int
    """Numbers that the head reads at a step."""
    rank: int
    """Linearly independent ones among them, under independent inputs."""
    dead: int
    """Numbers that never change there."""
    linear: Float[ndarray, " lags"]
    """Linear memory capacity by lag: of how many independent numbers of that input an affine readout knows all."""
    by_degree: dict[int, float]
    """Information processing capacity by the degree of the target; of degree 1 it is the linear memory capacity."""
    kernel_rank: int
    """Directions that the states take after different streams of input, of twice as many as units."""
    generalisation_rank: int
    """The same after streams whose last `SHARED` inputs are one and the same."""
    known: list[dict[str, float | int]] = field(default_factory=list)
    """By lag from the last scored step of the task: ``bits`` that a linear readout knows of the input there, at least,
    and its ``entropy``."""

    @property
    def known_until(self) -> int | None:
        """The largest lag at which half of the input is known or more; None where there is none."""
        known = [one["lag"] for one in self.known if one["entropy"] >= LEAST and 2 * one["bits"] >= one["entropy"]]
        return int(max(known)) if known else None

    def summary(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "units": self.units,
            "rank": self.rank,
            "dead_units": self.dead,
            "linear_memory": {"total": float(self.linear.sum()), "by_lag": self.linear.tolist()},
            "information_processing": {
                "total": sum(self.by_degree.values()),
                "by_degree": {str(degree): total for degree, total in self.by_degree.items()},
            },
            "kernel_rank": self.kernel_rank,
            "generalisation_rank": self.generalisation_rank,
            "known_until": self.known_until,
            "known_inputs": self.known,
        }


def passport(
    model: nn.Module,
    task: Task,
    lags: int = 100,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Passport:
    """Issue a model's memory passport.

    The model is run in evaluation mode and in double precision, to which its weights are converted for good.

    Args:
        model: A `SequenceModel` whose states at a step depend on the inputs so far alone.
        task: Gives rows, and their lags.
        lags: How far back inputs are looked for: lags 0 to lags - 1.
        progress: Told how much of how much is done.

    Raises:
        UserError: the model has no such states, or can't be run on sequences that long.
    """
    if not isinstance(model, SequenceModel):
        raise UserError(
            f"{type(model).__name__} has no states at every step of its inputs, of which memory is measured"
        )
    with double_by_default(), torch.no_grad():
        in_double(model).eval()
        driven = _Driven(model, task.spec.sequence)
        units = driven.units_of_a_causal_model()
        far = _far_lags(task, lags)
        total, done = DEGREES + 2 + len(far), 0

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        rows = math.ceil(max(_SAMPLES, _SAMPLES_A_UNIT * units) / STEPS)
        inputs = driven.draw(rows, lags + STEPS)
        states = driven.states(inputs)[:, lags:].reshape(-1, units)
        readout = memory.Readout(states)
        spread = states.std(0)
        advance()
        linear, by_degree = np.zeros(lags), {}
        for degree in range(1, DEGREES + 1):
            values, functions = driven.functions(inputs, degree)
            terms = memory.terms(functions, degree, lags, MOST[degree])
            # Few lags have no products of many inputs.
            found = np.concatenate(
                [
                    np.zeros(0),
                    *(
                        readout.capacities(memory.products(values, terms[at : at + _CHUNK], lags))
                        for at in range(0, len(terms), _CHUNK)
                    ),
                ]
            )
            by_degree[degree] = float(found.sum())
            if degree == 1:
                np.add.at(linear, [term[0][0] for term in terms], found)
            advance()
        kernel, generalisation = driven.ranks(min(2 * units, 1000), lags)
        advance()
        known = []
        for one in _known(model, task, far):
            known.append(one)
            advance()
    dead = int((spread <= 1e-9 * spread.max(initial=0.0)).sum())
    return Passport(units, readout.rank, dead, linear, by_degree, kernel, generalisation, known)


class _Driven:
    """A model under independent, uniform inputs."""

    def __init__(self, model: SequenceModel, inputs: Any) -> None:
        self._model, self._inputs, self._random = model, inputs, np.random.default_rng(0)

    def draw(self, rows: int, steps: int) -> ndarray:
        """Symbols ``[rows steps]``, or numbers in [-1, 1], ``[rows steps features]``."""
        if isinstance(self._inputs, Tokens):
            return self._random.integers(0, self._inputs.vocabulary, (rows, steps))
        return self._random.uniform(-1, 1, (rows, steps, self._inputs.features))

    def states(self, inputs: ndarray) -> Float[ndarray, "rows steps units"]:
        """What the head reads at every step."""
        found = []
        for part in np.array_split(inputs, math.ceil(len(inputs) / 64)):
            given = torch.from_numpy(part)
            embedded = self._model.embedding(given) if isinstance(self._inputs, Tokens) else given
            found.append(self._model.states(embedded).numpy())
        return np.concatenate(found)

    def functions(self, inputs: ndarray, degree: int) -> tuple[ndarray, list[memory.Function]]:
        """The functions of an input of which targets are products."""
        if isinstance(self._inputs, Tokens):
            return memory.contrast_functions(inputs, self._inputs.vocabulary)
        return memory.legendre_functions(inputs, degree)

    def units_of_a_causal_model(self) -> int:
        """The numbers that the head reads.

        Raises:
            UserError: the model can't be run so, or its states see later inputs.
        """
        inputs = self.draw(2, 12)
        try:
            whole, half = self.states(inputs), self.states(inputs[:, :6])
        except Exception as error:
            raise UserError(
                f"the model can't be run on other inputs: {type(error).__name__}: {in_a_line(error)}"
            ) from error
        if not np.allclose(whole[:, :6], half, rtol=1e-6, atol=1e-9):
            raise UserError("the model's states see later inputs too, so that they are no memory of earlier ones")
        if not np.isfinite(whole).all():
            raise UserError("the model's states are not finite")
        return whole.shape[2]

    def ranks(self, streams: int, steps: int) -> tuple[int, int]:
        """Kernel and generalisation rank."""
        inputs = self.draw(streams, steps)
        alike = inputs.copy()
        alike[:, -SHARED:] = alike[:1, -SHARED:]
        return memory.ranks_of_states(self.states(inputs)[:, -1], self.states(alike)[:, -1])


def _far_lags(task: Task, lags: int) -> list[int]:
    """The lags of the task's rows that are looked at: all small ones, then ever fewer, and the needed one."""
    steps = min(task.spec.sequence.length, lags)
    chosen = {*range(min(9, steps)), *(int(one) for one in np.geomspace(1, max(1, steps - 1), 24).round())}
    return sorted(one for one in chosen if one < steps)


def _known(model: SequenceModel, task: Task, lags: list[int]) -> Iterator[dict[str, float | int]]:
    """By lag what is known of the input there, with as many rows as are long enough."""
    batches, rows = [], 0
    for step in range(task.protocol.max_steps):
        batches.append(task.train_batch(step))
        rows += len(batches[-1].targets)
        if rows >= FITTED:
            break
    fitted = _gathered(model, task, batches)
    held_out = _gathered(model, task, [task.held_out(HELD_OUT)])
    for lag in lags:
        (states, inputs), (others, asked) = (one.at(lag) for one in (fitted, held_out))
        if len(states) < 50 or len(others) < 50:
            return
        bits, entropies = [], []
        for symbols, wanted in _as_symbols(inputs, asked):
            bits.append(memory.bits_known((states, symbols), (others, wanted)))
            entropies.append(memory.entropy(wanted))
        yield {"lag": lag, "bits": float(np.mean(bits)), "entropy": float(np.mean(entropies))}


@dataclass(frozen=True)
class _Rows:
    """Rows of the task with the state at the last scored step of each."""

    states: Float[ndarray, "rows units"]
    inputs: list[ndarray]
    """Of each row, symbols ``[steps]`` or numbers ``[steps features]``."""
    places: list[int]

    def at(self, lag: int) -> tuple[ndarray, ndarray]:
        """The states of the rows that reach so far back, and their inputs at that lag."""
        chosen = [row for row, place in enumerate(self.places) if place >= lag]
        return self.states[chosen], np.array([self.inputs[row][self.places[row] - lag] for row in chosen])


def _gathered(model: SequenceModel, task: Task, batches: list[Batch]) -> _Rows:
    states, inputs, places = [], [], []
    for batch in batches:
        double = batch.map(lambda one: one.double() if one.is_floating_point() else one)
        embedded = model.embedding(double.inputs)
        read = batch.inputs if isinstance(task.spec.inputs, Tokens) else embedded
        last = scored_steps(task.spec, steps_of(task.spec, double), double.mask)[1]
        found: Tensor = model.states(embedded, double.lengths)
        states.append(found[torch.arange(len(last)), last].numpy())
        inputs += list(read.numpy())
        places += last.tolist()
    return _Rows(np.concatenate(states), inputs, places)


def _as_symbols(inputs: ndarray, others: ndarray) -> Iterator[tuple[ndarray, ndarray]]:
    """Symbols as they are; each of four numbers at most, evenly spread, cut at the quantiles of the first rows."""
    if inputs.ndim == 1:
        yield inputs, others
        return
    for feature in sorted({*np.linspace(0, inputs.shape[1] - 1, 4).round().astype(int)}):
        cuts = np.quantile(inputs[:, feature], np.arange(1, LEVELS) / LEVELS)
        yield np.searchsorted(cuts, inputs[:, feature]), np.searchsorted(cuts, others[:, feature])

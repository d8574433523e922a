"""Who is examined: a probe, in short trials of a model on a task."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule

from rnnae_bench.contracts.task import Task
from rnnae_bench.probes import Probe
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.of_probes.traces import Moment, Trace
from rnnae_bench.trial.added_probes import AddedProbe, added_probes
from rnnae_bench.trial.asked_probes import asked_probes
from rnnae_bench.trial.outcome import Outcome
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

TASK, MODEL = "copy:smoke", "gru[hidden_size=16,layers=2,dropout=0.2]"
"""The pair that a probe is examined on unless another is named; it draws random numbers at every step."""

STEPS, EVERY = 12, 4
"""Optimiser steps of a trial, and between two evaluations."""


@dataclass(frozen=True)
class Ran:
    """A trial that was run."""

    record: Record
    series: dict[str, Series]
    moments: list[Moment]
    probe: Probe | None
    """The one that was examined; None where it was not part of the trial, or that never began."""
    graphs: list[str]

    @property
    def own(self) -> dict[str, Series]:
        """The histories that are the probe's."""
        assert self.probe is not None
        subject = self.probe.subject
        return {name: one for name, one in self.series.items() if name.partition("/")[0] == subject}


@contextmanager
def _as_many_threads() -> Iterator[None]:
    """Have as many threads afterwards as before, whatever a probe has set."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ProbeCandidate:
    """A probe in trials of a model on a task.

    Args:
        probe: A registered ``NAME`` or ``NAME[OPTION=VALUE,...]``, or a class, registered or not.
        task: As for `ModelCandidate`, by name or class.
        model: As for `ModelCandidate`.

    Raises:
        UserError: a name or an option is wrong, or the model does not serve the task.
    """

    def __init__(
        self, probe: str | type, task: str | type[Task] = TASK, model: str | type[LightningModule] = MODEL
    ) -> None:
        (self.asked,) = asked_probes([probe])
        pair = ModelCandidate(model, task)
        assert pair.pair is not None
        self.pair, self.options = pair.pair, pair.options
        self.trial(probed=False)

    @cached_property
    def added(self) -> AddedProbe:
        """The probe, checked; `UserError` where it can't measure."""
        (added,) = added_probes([self.asked])
        return added

    def trial(
        self,
        probed: bool = True,
        seed: int = 0,
        pair: Pair | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Trial:
        """A short trial, with the probe or without.

        Args:
            probed: Whether the probe measures.
            seed: The trial's.
            pair: In place of the candidate's.
            options: In place of the candidate's.
        """
        pair, options = pair or self.pair, options or self.options
        protocol = {**options["task"]["protocol"], "max_steps": STEPS, "evaluate_every": EVERY}
        short = {
            **options,
            "task": {**options["task"], "protocol": protocol},
            "trainer": {**options["trainer"], "accelerator": "cpu"},
        }
        return Trial(pair, short, seed, probes=[self.added] if probed else [])

    def run(
        self,
        trial: Trial | None = None,
        callbacks: Sequence[Callback] = (),
        store: Store | None = None,
        checkpoint_every: float | None = None,
    ) -> Ran:
        """Run a trial to its end; by default one with the probe.

        Args:
            trial: As `trial` gives it.
            callbacks: Told of everything after the probe.
            store: Where the record goes; else nowhere.
            checkpoint_every: As for `Trial.run`.
        """
        trace = Trace()
        with tempfile.TemporaryDirectory() as folder, _as_many_threads():
            outcome = (trial or self.trial()).run(
                store or Store(Path(folder)),
                ["rnnae-bench", "check"],
                [trace, *callbacks],
                checkpoint_every=checkpoint_every,
            )
        assert outcome is not None
        return Ran(outcome.record, outcome.series, trace.moments, trace.probe, trace.graphs)

    def run_as_one(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Run several trials as one; their records go nowhere."""
        with tempfile.TemporaryDirectory() as folder, _as_many_threads():
            return VectorizedTrial(trials).run(Store(Path(folder)), ["rnnae-bench", "check"])

    @cached_property
    def plain(self) -> Ran:
        """The trial without the probe."""
        return self.run(self.trial(probed=False))

    @cached_property
    def probed(self) -> Ran:
        """The trial with the probe."""
        return self.run()

    @cached_property
    def again(self) -> Ran:
        """The same again, with another instance."""
        _ = self.probed
        return self.run()

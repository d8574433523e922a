"""The probes of a trial, measuring K members at once; what each would have measured alone is split off at the end."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer

from rnnae_bench.contracts.card import Primary
from rnnae_bench.probes import Cost, Diverged, Evaluation, GradientNorms, Probe, TrainingCurve, Underflow
from rnnae_bench.trial.added_probes import of_member
from rnnae_bench.trial.outcome import Measured, measured
from rnnae_bench.trial.vectorized.by_member import VectorizedEvaluation, VectorizedExampleScores, VectorizedSamples
from rnnae_bench.trial.vectorized.gradient_flow import VectorizedGradientFlow
from rnnae_bench.trial.vectorized.module import VectorizedModule
from rnnae_bench.trial.vectorized.task import VectorizedTask


class VectorizedTrainingCurve(TrainingCurve):
    """`TrainingCurve` of every member; tells of members whose loss is not finite, and raises when none is left.

    Args:
        learning_rates: Each member's peak.
        diverged: Called with a member and what happened, once every callback has seen the step.
    """

    def __init__(self, learning_rates: list[float], diverged: Callable[[int, Diverged], None]) -> None:
        super().__init__()
        self._peaks = np.array(learning_rates)
        self._diverged = diverged

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the learning rates that the coming step uses."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        self._rate = self._peaks * self._rate

    def _check(self, trainer: Trainer, steps: list[int], finite: np.ndarray) -> None:
        module = trainer.lightning_module
        assert isinstance(module, VectorizedModule)
        for member in [one for one in module.living if not finite[:, one].all()]:
            error = Diverged(steps[int(finite[:, member].argmin())])
            self._diverged(member, error)
            module.freeze_member(member)
            if not module.living:
                raise error


class MemberProbes:
    """The probes of K members.

    Args:
        task: The members' tasks.
        primary: The metric and threshold that count as solved.
        learning_rates: Each member's peak.
        diverged: As of `VectorizedTrainingCurve`.
        added: Those of plugins, which have an ``of_member(member)``.
    """

    def __init__(
        self,
        task: VectorizedTask,
        primary: Primary,
        learning_rates: list[float],
        diverged: Callable[[int, Diverged], None],
        added: Sequence[Probe] = (),
    ) -> None:
        self._added = added
        self._norms = GradientNorms()
        self._underflow = Underflow(members=len(learning_rates))
        self._flow = VectorizedGradientFlow(task)
        self._evaluation = VectorizedEvaluation(task, primary)
        self._examples = VectorizedExampleScores(task, primary.metric)
        self._samples = VectorizedSamples(task, self._evaluation)
        self._cost = Cost()
        self._curve = VectorizedTrainingCurve(learning_rates, diverged)

    @property
    def callbacks(self) -> list[Probe]:
        """All of them, in the order of a single trial's."""
        return [
            self._norms,
            self._underflow,
            self._flow,
            self._evaluation,
            self._examples,
            self._samples,
            self._cost,
            *self._added,
            self._curve,
        ]

    @property
    def seconds(self) -> float:
        """Training seconds of all members together."""
        return float(self._cost.measures()["training_seconds"])

    def evaluation(self, member: int) -> Evaluation:
        """What scored a member."""
        return self._evaluation.members[member]

    def measured(self, member: int) -> Measured:
        """What they have to say of one member so far; of all seconds it has its share."""
        members = len(self._evaluation.members)
        mine: list[Probe] = [
            self._norms.of_member(member),
            self._underflow.of_member(member),
            self._flow.of_member(member),
            self.evaluation(member),
            self._examples.members[member],
            self._samples.members[member],
            self._cost,
            *(of_member(probe, member) for probe in self._added),
            self._curve.of_member(member),
        ]
        found = measured(mine)
        measures = found.measures
        for name in ("training_seconds", "seconds_to_solved"):
            if measures[name] is not None:
                measures[name] /= members
        if measures["steps_per_second"] is not None:
            measures["steps_per_second"] *= members
        if measures["parameters"] is not None:
            measures["parameters"] //= members
        return found

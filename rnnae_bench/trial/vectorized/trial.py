"""Several trials as one: one Lightning fit, one record a member."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lightning import Callback
from msgspec.structs import replace

from rnnae_bench.errors import UserError
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import Diverged
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Failure, Record, Status, Vectorized
from rnnae_bench.records.store import Store
from rnnae_bench.training.allocator import keep_freed_memory, release_freed_memory
from rnnae_bench.training.lightning import fit_and_test
from rnnae_bench.trial.added_probes import origins
from rnnae_bench.trial.drafting import Flush
from rnnae_bench.trial.interruption import Interruptions
from rnnae_bench.trial.isolation import undisturbed
from rnnae_bench.trial.outcome import RUNNING, Outcome, failure_of, keep
from rnnae_bench.trial.pair import changed
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized.choice import reason_apart
from rnnae_bench.trial.vectorized.module import VectorizedModule
from rnnae_bench.trial.vectorized.probes import MemberProbes
from rnnae_bench.trial.vectorized.task import VectorizedTask
from rnnae_bench.trial.weights import encode

LEARNING_RATE = "model.optimization.learning_rate"
"""The one option in which members may differ."""


class VectorizedTrial:
    """Trials that differ only in seed, data seed and learning rate, trained as one.

    Each leaves the record and the histories that it would have left alone, to within rounding: same id, same columns,
    same measures. What can't be its own is noted in ``environment.vectorized``: how many they were and what seconds
    they took together. Of these seconds each record has its share; the peak of the memory is that of all.

    A member whose loss stops being finite ends there, as it would alone, and the others go on.

    Args:
        trials: The members.

    Raises:
        UserError: they can't be trained as one.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        if not trials:
            raise UserError("no trials were given to train as one; give one at least")
        first = trials[0]
        reason = reason_apart(first)
        if reason:
            raise UserError(f"{first.pair.model_handle.name} on {first.pair.label} can't be trained as one: {reason}")
        for other in trials[1:]:
            _require_alike(first, other)
        identities = [trial.identity for trial in trials]
        for identity in identities:
            if identities.count(identity) > 1:
                raise UserError(f"trial {identity} was given {identities.count(identity)} times; give each once")
        self.trials = tuple(trials)
        self.task = VectorizedTask([trial.task for trial in trials])

    def run(
        self,
        store: Store,
        command: Sequence[str],
        callbacks: Sequence[Callback] = (),
        flush_every: float | None = None,
        keep_weights: bool = False,
    ) -> list[Outcome]:
        """Train, test, and write the records, however each ends.

        Args:
            store: Where the records go; that of a member that diverges at once, the others at the end.
            command: The command line to note in the records.
            callbacks: As for `Trial.run`; the module they see is a `VectorizedModule`, the loss has an axis K.
            flush_every: As for `Trial.run`, for every member.
            keep_weights: As for `Trial.run`, for every member.

        Returns:
            The outcomes, in the order of the trials.
        """
        store = store.anchored()
        first = self.trials[0]
        outcomes: dict[int, Outcome] = {}
        started = datetime.now(UTC)

        def record(
            member: int, status: Status, failure: Failure | None
        ) -> tuple[Record, dict[str, Series], bytes | None]:
            found = probes.measured(member)
            made = self.trials[member].recorder.record(
                probes.evaluation(member), found, status, failure, started, command
            )
            together = Vectorized(members=len(self.trials), place=member, seconds=probes.seconds)
            return replace(made, environment=replace(made.environment, vectorized=together)), found.series, found.kept

        def diverged(member: int, error: Diverged) -> None:
            outcomes[member] = keep(store, *record(member, *failure_of(error, None)))

        def draft() -> None:
            for member in self._without(outcomes):
                store.drafts.write(*record(member, "interrupted", RUNNING)[:2])

        release_freed_memory()
        added = [one.build() for one in first.probes]
        probes = MemberProbes(self.task, first.pair.variant.primary, self._learning_rates(), diverged, added)
        drafts = [] if flush_every is None else [Flush(draft, flush_every)]
        keep_freed_memory()
        status: Status = "ok"
        failure: Failure | None = None
        trainer = module = None
        with Interruptions() as interruptions, undisturbed(alone=True) as folder:
            try:
                with interruptions.raised(), one_process():
                    trainer = first.trainer([*probes.callbacks, *callbacks, *drafts], [], folder)
                    module = VectorizedModule([trial.build_model() for trial in self.trials])  # type: ignore[misc]
                    module.train_in_blocks()
                    self.task.blocks = first.blocks
                    fit_and_test(trainer, module, self.task, self.task.tests())
            except BaseException as error:
                status, failure = failure_of(error, trainer)
            for member in self._without(outcomes):
                weights = None
                if keep_weights and module is not None and status == "ok":
                    weights = encode(module.model(member).state_dict())
                outcomes[member] = keep(store, *record(member, status, failure), weights)
            return [outcomes[member] for member in range(len(self.trials))]

    def _without(self, outcomes: dict[int, Outcome]) -> list[int]:
        """The members that have no outcome yet."""
        return [member for member in range(len(self.trials)) if member not in outcomes]

    def _learning_rates(self) -> list[float]:
        return [trial.options["model"]["optimization"]["learning_rate"] for trial in self.trials]


def _require_alike(first: Trial, other: Trial) -> None:
    """Raise `UserError` where two trials differ in more than seeds and learning rate."""
    one, two = changed(_described(first), {}), changed(_described(other), {})
    for name in {**one, **two}:
        mine, its = one.get(name), two.get(name)
        if name != LEARNING_RATE and mine != its:
            raise UserError(
                f"these trials can't be trained as one: {name} is {mine} in one and {its} in another; "
                f"members may differ in seeds and {LEARNING_RATE} only"
            )


def _described(trial: Trial) -> dict[str, Any]:
    """All that members have in common, the pair first, and the learning rate; nested."""
    return {
        "pair": {"task": trial.pair.label, "model": trial.pair.model_handle.name},
        **trial.options,
        "layout": trial.layout,
        "probes": list(origins(trial.probes)),
    }

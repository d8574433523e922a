"""Search: a model's hyper-parameters on a task, found by Optuna with the same budget for every model.

The search says what to run next and is told what came of it; who runs it is not its business. Its state is in its
storage alone, so that a search that was killed goes on where it was, and several may share one.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.contracts.search_space import Dimension, Range, dimension_from, is_range, plain
from rnnae_bench.errors import UserError, in_a_line, missing_extra, require_positive
from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.records.privacy import without_secrets
from rnnae_bench.records.record import Record
from rnnae_bench.statistics.expected_best import expected_best
from rnnae_bench.statistics.score import unscored
from rnnae_bench.sweeps.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweeps.grid import key_of, label, run_command
from rnnae_bench.sweeps.journal import JournalLock
from rnnae_bench.sweeps.queue import Queue, candidates

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Space = Mapping[str, Dimension]
"""What is searched, by dotted name of the model's option."""


def space_of(model: str, given: Mapping[str, Any], declared: Space) -> dict[str, Dimension]:
    """What is searched for a model: what the user gave, or else what the model declares.

    Args:
        model: Its name.
        given: The user's `search_space`: by option, and by model and option.
        declared: As from `rnnae_bench.contracts.search_space.declared`.

    Raises:
        UserError: what the user gave is no search space, or there is none at all.
    """
    own = {option: value for option, value in given.items() if isinstance(value, list) or is_range(value)}
    for name, section in given.items():
        if name in own:
            continue
        if not isinstance(section, Mapping):
            raise UserError(
                f"search space of {name}: got {section!r}; write {{low: 16, high: 256, log: true}} or [a, b, c]"
            )
        if name == model:
            own.update(section)
    if own:
        return {option: dimension_from(value, option) for option, value in own.items()}
    if not declared:
        raise UserError(f"there is nothing to search for: model '{model}' declares no ranges; give --search-space")
    return dict(declared)


@dataclass(frozen=True)
class Found:
    """What a search found for one task, model and precision."""

    study: str
    """The setting that was searched around, in a line."""
    metric: str | None
    """The primary metric, on the validation set; None where no trial ended well."""
    tried: int
    """Settings with a result, failed ones included."""
    failed: int
    best: Setting | None
    command: str | None
    """The ``rnnae-bench run`` of the best."""
    value: float | None
    """Its metric, the mean over the seeds."""
    expected_best: tuple[float, ...]
    """Expected metric of the best of n of the settings tried, n = 1..N; a failed one counts as the worst that ended
    well, or as the floor if that is worse. The settings were not drawn independently (the sampler learns), so this
    describes those tried, in any order."""

    def as_dict(self) -> dict[str, Any]:
        """It all as plain data."""
        return asdict(self)


class Search:
    """Searches around several settings at once, each with its own study, by `ask` and `tell`.

    The objective is the score of the primary metric on the validation set at the end of training, the mean over the
    seeds; the test set is not looked at. The sampler is `rnnae_bench.sweeps.sampler.SeededByNumber`. Real numbers are
    rounded to four significant digits.

    Args:
        studies: What to search around, one study each; an option that one of them sets is not searched there.
        spaces: What to search, by model.
        trials: Settings to try in each study.
        storage: A database URL, or the path of a journal.
        seed: Of the sampler, and part of the studies' names.

    Raises:
        UserError: Optuna is not installed, the storage can't be opened, or nothing is left to search in a study.
    """

    def __init__(
        self,
        studies: Sequence[Setting],
        spaces: Mapping[str, Space],
        trials: int,
        storage: str,
        seed: int = 1000,
    ) -> None:
        require_positive(**{"--search-trials": trials})
        opened = _open(storage)
        self._studies = [_Study(setting, spaces[setting.model], trials, opened, seed) for setting in studies]
        self._turn = 0

    def ask(self) -> Setting | None:
        """The next setting to run; None where the budget of every study is spent.

        A setting comes once, also where the sampler hits upon it again. Those that an earlier search asked for and was
        not told of come first. The studies take turns.
        """
        for _ in self._studies:
            study = self._studies[self._turn % len(self._studies)]
            self._turn += 1
            setting = study.ask()
            if setting is not None:
                return setting
        return None

    def tell(self, setting: Setting, *records: Record) -> None:
        """What came of a setting that was asked for: its records, one a seed.

        If one of them did not end ``ok``, the setting failed; if one was interrupted, it stays open for the next
        search.

        Raises:
            ValueError: it was not asked for.
        """
        for study in self._studies:
            if study.tell(setting, records):
                return
        raise ValueError(f"{label(setting)} was not asked for")

    def found(self) -> list[Found]:
        """What each study has so far."""
        return [study.found() for study in self._studies]


class Searching:
    """Keeps a queue filled with what a search asks for.

    Args:
        search: What to try.
        queue: Where to put it.
        plan: Checks a setting.
        ahead: How many trials are asked for before the results of earlier ones are known: as many as run at once.
        vectorize: As for `candidates`.
    """

    def __init__(
        self,
        search: Search,
        queue: Queue,
        plan: Callable[[Setting], Plan | Refusal],
        ahead: int,
        vectorize: str | int = "off",
    ) -> None:
        self._search, self._queue, self._plan, self._ahead, self._vectorize = search, queue, plan, ahead, vectorize
        self._open: list[tuple[Setting, Sequence[str]]] = []

    def refill(self) -> None:
        """Tell the search what is done, and ask it for more."""
        for setting, identities in list(self._open):
            if all(identity in self._queue.done for identity in identities):
                self._open.remove((setting, identities))
                self._search.tell(setting, *(self._queue.done[identity] for identity in identities))
        while sum(len(identities) for _, identities in self._open) < self._ahead:
            asked = self._search.ask()
            if asked is None:
                return
            planned = self._plan(asked)
            if isinstance(planned, Refusal):
                # Two options that exclude each other, say: a setting that fails.
                self._search.tell(asked)
                continue
            self._open.append((asked, [member.identity for member in planned.trials]))
            self._queue.add(candidates([planned], self._vectorize))


class _Study:
    """One study. The trials that count are the first so many in the storage whose parameters are all there.

    (Of a trial that was being created when its process was killed some are missing, and of two processes each may
    create the last one.)
    """

    def __init__(self, setting: Setting, space: Space, trials: int, storage: "str | BaseStorage", seed: int) -> None:
        import optuna

        from rnnae_bench.sweeps.sampler import SeededByNumber

        self.setting = setting
        fixed = flatten(setting.overrides.get("model", {}))
        self._space = {option: dimension for option, dimension in space.items() if option not in fixed}
        if not self._space:
            raise UserError(f"there is nothing to search for: {label(setting)} sets all that could be searched")
        self._distributions = {option: _distribution(dimension) for option, dimension in self._space.items()}
        self._trials = trials
        content = [key_of(setting), {option: plain(one) for option, one in self._space.items()}, seed]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]
        name = f"{label(setting)} {digest}"
        self._study: Study = optuna.create_study(
            storage=storage,
            sampler=SeededByNumber(f"{seed} {name}"),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        self._asked: set[str] = set()

    def ask(self) -> Setting | None:
        from optuna.trial import TrialState

        while True:
            counted = self._counted()
            ended = {self._key(one): one for one in counted if one.state.is_finished()}
            for trial in counted:
                if trial.state != TrialState.RUNNING:
                    continue
                key = self._key(trial)
                if key in ended:
                    self._finish(trial, ended[key].value)
                elif key not in self._asked:
                    self._asked.add(key)
                    return self._setting(trial)
            if len(counted) >= self._trials:
                return None
            self._study.ask(self._distributions)

    def tell(self, setting: Setting, records: Sequence[Record]) -> bool:
        from optuna.trial import TrialState

        key = key_of(setting)
        if key not in self._asked:
            return False
        if any(record.status == "interrupted" for record in records):
            return True
        score = _score(records)
        if records and score is not None:
            primary = records[0].primary
            points = {"metric": primary.metric, "floor": primary.floor, "ceiling": primary.ceiling}
            self._study.set_user_attr("primary", points)
        for trial in self._counted():
            if trial.state == TrialState.RUNNING and self._key(trial) == key:
                self._finish(trial, score)
        return True

    def _finish(self, trial: "FrozenTrial", score: float | None) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = TrialState.FAIL if score is None else TrialState.COMPLETE
        # Another process on the same storage may have been told of it just now.
        with contextlib.suppress(UpdateFinishedTrialError):
            self._study.tell(trial.number, score, state, skip_if_finished=True)

    def found(self) -> Found:
        from optuna.trial import TrialState

        ended = [trial for trial in self._counted() if trial.state.is_finished()]
        good = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        best = max(good, key=lambda trial: trial.value or 0.0, default=None)
        chosen = None if best is None else self._setting(best)
        primary = self._study.user_attrs.get("primary")
        failed = len(ended) - len(good)
        in_units = _units(primary) if primary else None
        scores = [trial.value or 0.0 for trial in good]
        scores += [min([0.0, *scores])] * failed
        return Found(
            study=label(self.setting),
            metric=primary["metric"] if primary else None,
            tried=len(ended),
            failed=failed,
            best=chosen,
            command=None if chosen is None else run_command(chosen),
            value=None if best is None or in_units is None else in_units(best.value or 0.0),
            expected_best=() if in_units is None else tuple(map(in_units, expected_best(scores).tolist())),
        )

    def _counted(self) -> "list[FrozenTrial]":
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.params.keys() == self._space.keys()][: self._trials]

    def _key(self, trial: "FrozenTrial") -> str:
        return key_of(self._setting(trial))

    def _setting(self, trial: "FrozenTrial") -> Setting:
        values = {option: _value(self._space[option], found) for option, found in trial.params.items()}
        model = nest({**flatten(self.setting.overrides.get("model", {})), **values})
        return Setting(self.setting.task, self.setting.model, {**self.setting.overrides, "model": model})


def _open(storage: str) -> "str | BaseStorage":
    """The storage, ready for Optuna."""
    try:
        import optuna
        from optuna.storages import JournalStorage, get_storage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise missing_extra("--search optuna", "Optuna", "search") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if "://" in storage:
            return get_storage(storage)
        path = Path(storage).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        lock: Any = JournalLock(path)
        return JournalStorage(JournalFileBackend(str(path), lock))
    except Exception as error:
        told = without_secrets(f"cannot open the search's storage {storage}: {in_a_line(error)}")
        raise UserError(f"{told}; mend --search-storage") from error


def _distribution(dimension: Dimension) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(dimension, Range):
        # As JSON: Optuna takes scalars only, and 1 for True.
        return CategoricalDistribution([json.dumps(value) for value in dimension.values])
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _value(dimension: Dimension, found: Any) -> Any:
    """The option's value for what Optuna chose."""
    if isinstance(dimension, Range):
        return found if dimension.whole else float(f"{found:.4g}")
    return json.loads(found)


def _score(records: Sequence[Record]) -> float | None:
    """The mean score on the validation set; None where a trial failed."""
    scores = []
    for record in records:
        value = record.metrics["validation"].get(record.primary.metric)
        if record.status != "ok" or value is None:
            return None
        scores.append(record.primary.scored(value))
    return sum(scores) / len(scores) if scores else None


def _units(primary: Mapping[str, Any]) -> Callable[[float], float]:
    """From a score to the metric."""
    return partial(unscored, floor=primary["floor"], ceiling=primary["ceiling"])

"""One study of Optuna: the search of one model's hyper-parameters on one task, and where its state lies."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.contracts.search_space import Dimension, Range, plain
from rnnae_bench.errors import UserError, in_a_line, missing_extra
from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.records.privacy import without_secrets
from rnnae_bench.records.record import Record
from rnnae_bench.statistics.expected_best import expected_best
from rnnae_bench.statistics.score import unscored
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.grid import key_of, label, run_command
from rnnae_bench.sweeps.journal import JournalLock

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Space = Mapping[str, Dimension]
"""What is searched, by dotted name of the model's option."""


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


class Study:
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
        self._study: optuna.Study = optuna.create_study(
            storage=storage,
            sampler=SeededByNumber(f"{seed} {name}"),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        self._asked: set[str] = set()

    def ask(self) -> Setting | None:
        """What to run next; None where nothing is left to ask for."""
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
        """Take what came of a setting; whether it was asked for here."""
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
        """What was found so far."""
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
        return replace(self.setting, overrides={**self.setting.overrides, "model": model})


def open_storage(storage: str) -> "str | BaseStorage":
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
        raise UserError(f"{told}; fix --search-storage") from error


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

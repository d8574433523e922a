"""Search: a model's hyper-parameters on a task, found by Optuna with the same budget for every model.

The search says what to run next and is told what came of it; who runs it is not its business. Its state is in its
storage alone, so that a search that was killed goes on where it was, and several may share one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnae_bench.contracts.search_space import Dimension, dimension_from, is_range
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.records.record import Record
from rnnae_bench.sweeps.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweeps.grid import label
from rnnae_bench.sweeps.queue import Queue, candidates
from rnnae_bench.sweeps.study import Found, Space, Study, open_storage


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
        opened = open_storage(storage)
        self._studies = [Study(setting, spaces[setting.model], trials, opened, seed) for setting in studies]
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

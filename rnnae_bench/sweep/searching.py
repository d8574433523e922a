"""Runs a search: what it asks for becomes trials, and their records are what it is told."""

from collections.abc import Callable, Sequence

from rnnae_bench.sweep.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweep.queue import Queue, candidates
from rnnae_bench.sweep.search import Search


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

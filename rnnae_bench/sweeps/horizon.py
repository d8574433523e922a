"""Horizon: the longest lag at which a model still solves a task, for each seed by itself.

The lag is doubled until the task is not solved, and the ratio between the longest that was solved and the shortest that
was not is then halved, in its logarithm, until it is small enough. Where not even the first is solved, lags are halved.
That who solves a lag solves all shorter ones is assumed, as by any bisection; what was tried is kept, so that it can be
judged.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.options.nested import merge, nest
from rnnae_bench.records.record import Record
from rnnae_bench.sweeps.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweeps.queue import Queue, candidates

Limit = Literal["model", "longest lag", "budget", "task"]
"""What kept a seed's horizon from being longer: the model did not solve the next lag; no longer one was allowed; the
budget was spent; the task refuses the next lag."""


@dataclass(frozen=True)
class Bounds:
    """How far, and how finely, a horizon is looked for.

    Args:
        longest: The longest lag that is tried.
        ratio: Largest ratio of the shortest lag that was not solved to the longest that was; above 1.
        budget: Seconds of training, of all trials together; None for any.
    """

    longest: int = 1000
    ratio: float = 1.1
    budget: float | None = None

    def __post_init__(self) -> None:
        require_positive(**{"--longest": self.longest})
        if not 1 < self.ratio < math.inf:
            raise UserError(f"--ratio is {self.ratio:g}; it must be above 1, as 1.1 for a tenth")


@dataclass(frozen=True)
class Tried:
    """A lag that was tried, and what came of it."""

    lag: int
    solved: bool
    value: float | None
    """The primary metric."""
    status: str
    id: str


@dataclass
class Bracket:
    """One seed's horizon, as far as it is known.

    Args:
        seed: The seed.
        first: The lag to begin with.
        bounds: How far, and how finely.
    """

    seed: int
    first: int
    bounds: Bounds
    tried: list[Tried] = field(default_factory=list)
    refused: tuple[int, str] | None = None
    """A lag that the task does not have, and why."""

    @property
    def solved(self) -> int | None:
        """The longest lag that was solved."""
        return max((one.lag for one in self.tried if one.solved), default=None)

    @property
    def unsolved(self) -> int | None:
        """The shortest lag that was not."""
        return min((one.lag for one in self.tried if not one.solved), default=None)

    @property
    def limit(self) -> Limit:
        """What keeps it from being longer, once nothing more is tried."""
        if self.following() is not None:
            return "budget"
        if self.refused is not None and self.refused[0] > (self.solved or 0) and self.unsolved is None:
            return "task"
        return "longest lag" if self.unsolved is None else "model"

    @property
    def is_bound(self) -> bool:
        """Whether the horizon may be longer than `solved`, beyond the ratio."""
        return self.limit != "model"

    def following(self) -> int | None:
        """The lag to try next; None where there is nothing left to try."""
        solved, unsolved, longest = self.solved, self.unsolved, self.bounds.longest
        if self.refused is not None:
            return None
        if solved is None and unsolved is None:
            return min(self.first, longest)
        if unsolved is None:
            assert solved is not None
            return min(2 * solved, longest) if solved < longest else None
        if solved is None:
            return unsolved // 2 or None
        if unsolved - solved < 2 or unsolved / solved <= self.bounds.ratio:
            return None
        return min(max(round(math.sqrt(solved * unsolved)), solved + 1), unsolved - 1)


class Reaching:
    """Keeps a queue filled with the lags that brackets ask for.

    Args:
        setting: What is tried, with any lag.
        option: The task's option that sets the lag.
        brackets: One a seed.
        queue: Where trials are put.
        plan: Checks a setting under some seeds.
        vectorize: As for `candidates`.
    """

    def __init__(
        self,
        setting: Setting,
        option: str,
        brackets: Sequence[Bracket],
        queue: Queue,
        plan: Callable[[Setting, Sequence[int]], Plan | Refusal],
        vectorize: str | int,
    ) -> None:
        self._setting, self._option, self._queue, self._vectorize = setting, option, queue, vectorize
        self._brackets = {one.seed: one for one in brackets}
        self._plan = plan
        self._open: dict[int, tuple[int, str]] = {}
        self.records: dict[str, Record] = {}
        """All that were tried, by id."""

    @property
    def spent(self) -> float:
        """Seconds of training so far, those of trials that were measured before among them."""
        return math.fsum(record.measures.training_seconds or 0.0 for record in self.records.values())

    def refill(self) -> None:
        """Tell the brackets what is done, and ask them for more; what has a record already is done at once."""
        while self._tell() + self._ask():
            pass

    def _tell(self) -> int:
        done = {seed: one for seed, one in self._open.items() if one[1] in self._queue.done}
        for seed, (lag, identity) in done.items():
            record = self.records[identity] = self._queue.done[identity]
            primary = record.primary
            tried = Tried(lag, primary.solved, primary.value, record.status, record.id)
            self._brackets[seed].tried.append(tried)
            del self._open[seed]
        return len(done)

    def _ask(self) -> int:
        """Queue what is asked for; returns for how many seeds something was found out at once."""
        asked: dict[int, list[int]] = {}
        for seed, bracket in self._brackets.items():
            budget = bracket.bounds.budget
            over = budget is not None and self.spent >= budget
            if seed not in self._open and not over and (lag := bracket.following()) is not None:
                asked.setdefault(lag, []).append(seed)
        known = 0
        for lag, seeds in asked.items():
            task = merge(self._setting.overrides.get("task", {}), nest({self._option: lag}))
            setting = replace(self._setting, overrides={**self._setting.overrides, "task": task})
            planned = self._plan(setting, seeds)
            if isinstance(planned, Refusal):
                for seed in seeds:
                    self._brackets[seed].refused = (lag, planned.reason)
                continue
            self._open |= {member.seed: (lag, member.identity) for member in planned.trials}
            self._queue.add(candidates([planned], self._vectorize))
            known += sum(member.identity in self._queue.done for member in planned.trials)
        return known


def lag_of(plan: Plan) -> tuple[str, int]:
    """The option that sets the lag of a plan's task, and its value there.

    Raises:
        UserError: the task's card names none.
    """
    if plan.lag is None:
        raise UserError(
            f"task {plan.setting.task.partition(':')[0]} has no horizon: its card names no option that sets the lag "
            "(lag_option)"
        )
    option, value = plan.lag
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{plan.setting.task}: {option} is {value!r}, and a horizon begins with a whole number above 0")
    return option, value


def trials_expected(bounds: Bounds) -> int:
    """About how many trials a seed takes: one or two to find the ends, and those that bring them together."""
    return 2 + max(0, math.ceil(math.log2(math.log(2) / math.log(bounds.ratio))))


def plain(bracket: Bracket) -> Mapping[str, Any]:
    """A seed's horizon as plain data."""
    return {
        "seed": bracket.seed,
        "longest_solved": bracket.solved,
        "shortest_not_solved": bracket.unsolved,
        "limit": bracket.limit,
        "refused": None if bracket.refused is None else {"lag": bracket.refused[0], "reason": bracket.refused[1]},
        "tried": [vars(one) for one in sorted(bracket.tried, key=lambda one: one.lag)],
    }

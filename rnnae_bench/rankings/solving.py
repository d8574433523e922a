"""How long each trial of a row took to solve its task: optimiser steps, censored at the budget.

- A trial has *solved* at its first evaluation on the validation set that reached the threshold, whatever came after.
  Whether it is `solved`, which P(solve) counts, is said by the test set after the training: a trial that reached the
  threshold and lost it again is in the curve, and not among those that solved.
- A trial that finished without reaching it is censored at its budget: it had not solved by then, and might have with
  more steps.
- A trial that failed before it reached it (diverged, out of memory, out of time, an error) is censored at the budget
  too, not where it ended. A trial that is censored early counts from there on like those that are still training, some
  of which will solve. A failed one will not, within the budget: the longer it stays among those at risk, the lower the
  curve, and it pays nobody to let a trial crash.
- A trial that was skipped or interrupted says nothing, as in `rnnae_bench.rankings.counting`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rnnae_bench.rankings.counting import LEFT_OUT
from rnnae_bench.records.record import Record
from rnnae_bench.statistics import proportions
from rnnae_bench.statistics.estimates import Estimate
from rnnae_bench.statistics.survival import Times, log_rank


@dataclass(frozen=True)
class Solving:
    """How often and how fast two rows solve their task, beside each other."""

    difference: Estimate
    """Of the first's share that solved minus the second's, with Newcombe's interval."""
    p: float
    """Of Fisher's exact test that the two solve with one probability."""
    log_rank: float | None
    """p of the log-rank test that their curves are one; None where no trial of either had solved."""
    more_seeds: int | None
    """How many more seeds each would show the difference of the shares by Fisher's test, with a probability of 0.8; 0:
    it does; None: no number can be said."""


def budget(record: Record) -> float:
    """The optimiser steps that the trial's protocol allows; those that it made, where the record does not say."""
    protocol = record.configuration.task.get("protocol")
    steps = protocol.get("max_steps") if isinstance(protocol, Mapping) else None
    return float(steps if isinstance(steps, int) else record.measures.steps)


def times_to_solve(records: Iterable[Record]) -> Times:
    """Of each trial that was tried its steps, and whether it had solved the task then; of a model fitted whole, 0."""
    tried = [record for record in records if record.status not in LEFT_OUT]
    return [
        (budget(record), False) if (steps := record.measures.steps_to_solved) is None else (float(steps), True)
        for record in tried
    ]


def side_by_side(first: Sequence[Record], second: Sequence[Record]) -> Solving | None:
    """Two rows of one task setting, all of their trials, whether they share their seeds or not.

    Args:
        first: The records of one.
        second: The records of the other.

    Returns:
        None where one of them has no trial that was tried.
    """
    tried = [[record for record in records if record.status not in LEFT_OUT] for records in (first, second)]
    if not all(tried):
        return None
    one, other = ((sum(record.primary.solved for record in records), len(records)) for records in tried)
    return Solving(
        difference=proportions.difference(one, other),
        p=proportions.p_value(one, other),
        log_rank=log_rank(*map(times_to_solve, tried)),
        more_seeds=proportions.more_to_tell(one, other),
    )

"""The exam of a probe: that it leaves the trial as it is, ends none, and says what it measured in a form to record."""

from collections.abc import Callable

from lightning import LightningModule

from rnnae_bench.contracts.task import Task
from rnnae_bench.testing.checks import SECONDS, Check, Verdict, examined, require_passed
from rnnae_bench.testing.of_probes.candidate import MODEL, TASK, ProbeCandidate
from rnnae_bench.testing.of_probes.endings import (
    cost,
    cut_short,
    fitted,
    graphs,
    members,
    resumption,
    step_by_step,
)
from rnnae_bench.testing.of_probes.left_alone import (
    batches,
    ending,
    gradients,
    modes,
    optimiser,
    process,
    random_numbers,
    results,
    weights,
)
from rnnae_bench.testing.of_probes.reports import construction, hooks, instances, measures, names, series

_LEFT = (batches, random_numbers, modes, process, gradients, weights, optimiser, ending)
_SAID = (hooks, instances)

PROBE_CHECKS: tuple[Check[ProbeCandidate], ...] = (
    Check(construction),
    *(Check(one, (construction,)) for one in _LEFT),
    Check(results, (construction, *_LEFT)),
    Check(hooks, (construction,)),
    Check(graphs, (construction,)),
    Check(instances, (hooks,)),
    Check(names, _SAID),
    Check(series, (*_SAID, names)),
    Check(measures, (*_SAID, names)),
    Check(step_by_step, (*_SAID, series), is_slow=True),
    Check(cut_short, _SAID, is_slow=True),
    Check(fitted, _SAID, is_slow=True),
    Check(resumption, (*_SAID, series, results), is_slow=True),
    Check(members, (*_SAID, series, results), is_slow=True),
    Check(cost, (hooks,)),
)
"""The exam of a probe, in the order in which it is taken."""


def check_probe(probe: str | type, task: str | type[Task] = TASK, model: str | type[LightningModule] = MODEL) -> None:
    """Examine a probe on a model and a task.

    Args:
        probe: A name, or a class.
        task: A name, or a class.
        model: A name, or a class.

    Raises:
        AssertionError: the probe breaks its contract.
        UserError: a name or an option is wrong, or the model does not serve the task.
    """
    require_passed(examine_probe(probe, task, model))


def examine_probe(
    probe: str | type,
    task: str | type[Task] = TASK,
    model: str | type[LightningModule] = MODEL,
    seconds: float = SECONDS,
    slow: bool = True,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Verdict]:
    """The verdicts of a probe's exam.

    Args:
        probe: A name, or a class.
        task: A name, or a class.
        model: A name, or a class.
        seconds: Of wall time that each check may take.
        slow: Whether to ask also what takes seconds.
        tell: Is told the name of each check as it begins.

    Raises:
        UserError: a name or an option is wrong, or the model does not serve the task.
    """
    checks = [check for check in PROBE_CHECKS if slow or not check.is_slow]
    return examined(checks, ProbeCandidate(probe, task, model), seconds, tell)

"""The exam of a model on a task."""

from collections.abc import Callable

from lightning import LightningModule

from rnnae_bench.contracts.code_limit import code_objection
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import SECONDS, Check, Verdict, examined, located, require_passed
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_models.construction import construction, first_weights, global_seeds
from rnnae_bench.testing.of_models.fitting import (
    evaluation_rows_apart,
    evaluation_steps,
    evaluations_apart,
    half_precision,
    loss,
    saving,
    seeds,
    shards,
    training,
)
from rnnae_bench.testing.of_models.gradients import inputs_reached, weights_held, weights_reached
from rnnae_bench.testing.of_models.predictions import (
    causality,
    evaluation_batches,
    free_running,
    padding,
    prediction,
    repetition,
    rows_alone,
    teacher_forcing,
)
from rnnae_bench.testing.of_models.states import carry_over, evaluation_between, forms, resumption, state_size, watched
from rnnae_bench.testing.of_models.whole import trial, two_processes

MODEL_CHECKS: tuple[Check[ModelCandidate], ...] = (
    Check(construction),
    Check(prediction, (construction,)),
    Check(training, (prediction,)),
    Check(first_weights, (construction,)),
    Check(global_seeds, (prediction, first_weights)),
    Check(repetition, (prediction,)),
    Check(seeds, (training, first_weights, global_seeds)),
    Check(rows_alone, (seeds, repetition)),
    Check(evaluation_batches, (rows_alone,)),
    Check(carry_over, (seeds, repetition)),
    Check(evaluation_between, (carry_over,)),
    Check(causality, (rows_alone, carry_over)),
    Check(padding, (rows_alone, carry_over)),
    Check(teacher_forcing, (rows_alone,)),
    Check(free_running, (teacher_forcing,)),
    Check(forms, (prediction,)),
    Check(state_size, (forms,)),
    Check(resumption, (forms, rows_alone)),
    Check(weights_reached, (training,)),
    Check(weights_held, (training, weights_reached)),
    Check(inputs_reached, (rows_alone, causality)),
    Check(watched, (training, inputs_reached)),
    Check(loss, (seeds, carry_over)),
    Check(evaluations_apart, (seeds, repetition, evaluation_between)),
    Check(evaluation_rows_apart, (seeds,)),
    Check(evaluation_steps, (training, repetition)),
    Check(saving, (seeds, repetition)),
    Check(half_precision, (training,)),
    Check(shards, (rows_alone, weights_reached, evaluation_between)),
    Check(trial, (training, evaluation_batches, evaluation_steps)),
    Check(two_processes, (trial, shards), is_slow=True),
)
"""The exam of a model, in the order in which it is taken."""


def check_model(
    model: str | type[LightningModule], task: str | type[Task] | Task, variant: str = "smoke"
) -> str | None:
    """Examine a model on a task, quickly: all checks but the slow ones.

    Args:
        model: A name, or a class.
        task: A name, a class, or a task that is made already, for which there is no whole trial.
        variant: Of the task, where that is not said.

    Returns:
        None, or the model's reason for not supporting the task, in which case nothing else is examined.

    Raises:
        AssertionError: the model breaks its contract.
        UserError: a name or an option is wrong.
    """
    candidate = ModelCandidate(model, task, variant)
    reason = refusal(candidate)
    if reason is None:
        require_passed(examined([check for check in MODEL_CHECKS if not check.is_slow], candidate))
    return reason


def examine_model(
    model: str | type[LightningModule],
    task: str | type[Task] | Task,
    variant: str = "smoke",
    seconds: float = SECONDS,
    slow: bool = True,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Verdict]:
    """The verdicts of a model's exam on a task.

    Args:
        model: A name, or a class.
        task: A name, a class, or a task that is made already, for which there is no whole trial.
        variant: Of the task, where that is not said.
        seconds: Of wall time that each check may take.
        slow: Whether to ask also what takes seconds.
        tell: Is told the name of each check as it begins.

    Raises:
        UserError: a name or an option is wrong, or the model does not serve the task.
    """
    candidate = ModelCandidate(model, task, variant)
    reason = refusal(candidate)
    if reason is not None:
        raise UserError(reason)
    return examined([check for check in MODEL_CHECKS if slow or not check.is_slow], candidate, seconds, tell)


def refusal(candidate: ModelCandidate) -> str | None:
    """The model's reason for not serving the task; None where it serves it.

    Raises:
        AssertionError: it refuses without one.
        UserError: it can't say, or the task can't be made.
    """
    try:
        spec = candidate.spec
        supports = getattr(candidate.model_class, "supports", None)
        if candidate.pair is not None:
            reason = candidate.pair.unsupported(candidate.task, candidate.options["model"])
        else:
            reason = supports(spec) if supports else None
        require(
            reason is None or (isinstance(reason, str) and bool(reason)),
            f"`supports` must give None or a reason, not {reason!r}",
        )
        if reason is None and spec.code_limit is not None and not candidate.missing:
            reason = code_objection(candidate.build().eval(), spec, candidate.batch)
    except (UserError, AssertionError):
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{candidate.model_class.__name__} and the task can't be brought together: {located(error)}"
        ) from error
    return reason

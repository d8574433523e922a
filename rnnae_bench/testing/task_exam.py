"""The exam of a task: its card, data, spec, loss, metrics and floor, and the frozen values of a variant."""

from collections.abc import Callable

from rnnae_bench.contracts.task import Task
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import SECONDS, Check, Verdict, examined, require_passed
from rnnae_bench.testing.of_tasks import baselines, batches, card, data, floor, leakage, loss, metrics, prediction


def check_task(task_class: str | type[Task], variant: str = "smoke") -> None:
    """Examine a task, quickly: all checks but the slow ones.

    Args:
        task_class: The task, a name or a class.
        variant: The variant whose data and baselines are examined; all variants are constructed.

    Raises:
        AssertionError: the task breaks its contract.
        UserError: the card can't be read, or there is no such variant.
    """
    require_passed(examine_task(task_class, variant, slow=False))


def examine_task(
    task_class: str | type[Task],
    variant: str = "smoke",
    seconds: float = SECONDS,
    slow: bool = True,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Verdict]:
    """The verdicts of a task's exam.

    Args:
        task_class: The task: a registered ``NAME`` or ``NAME:VARIANT``, or a class.
        variant: Where the name has none.
        seconds: Of wall time that each check may take.
        slow: Whether to ask also what takes seconds.
        tell: Is told the name of each check as it begins.

    Raises:
        UserError: the task can't be found or loaded, the card can't be read, or there is no such variant.
    """
    checks = [check for check in TASK_CHECKS if slow or not check.is_slow]
    return examined(checks, TaskCandidate(task_class, variant), seconds, tell)


_MADE = (card.variants,)
_FORM = (batches.inputs, batches.lengths, batches.masks, batches.targets)
_STABLE = (data.global_generators, data.clock, data.order_of_calls)
_SOUND = (*_FORM, *_STABLE, data.steps_differ)
_SCORED = (*_FORM, *_STABLE, prediction.predict_again, metrics.metrics)

TASK_CHECKS: tuple[Check[TaskCandidate], ...] = (
    Check(card.variants),
    Check(card.scale),
    Check(data.batch_size, _MADE),
    Check(batches.inputs, _MADE),
    Check(batches.lengths, _MADE),
    Check(batches.masks, (batches.inputs, batches.lengths)),
    Check(batches.targets, (batches.inputs, batches.lengths, batches.masks)),
    Check(batches.held_out, _FORM),
    Check(batches.mixed_classes, _FORM),
    Check(batches.symbols, (*_FORM, batches.mixed_classes)),
    Check(batches.padding, _FORM),
    Check(batches.continuing, _FORM),
    Check(card.needed_lag, _FORM),
    Check(card.names, _FORM),
    Check(card.samples, _MADE),
    Check(data.global_generators, _MADE),
    Check(data.clock, (data.global_generators,)),
    Check(data.order_of_calls, (data.global_generators, data.clock)),
    Check(data.data_seed, _STABLE),
    Check(data.steps_differ, _MADE),
    Check(data.workers, _STABLE),
    Check(data.other_process, (*_STABLE, data.workers), is_slow=True),
    Check(leakage.training_rows_in_sets, _SOUND),
    Check(leakage.rows_twice, _SOUND),
    Check(leakage.rows_in_two_sets, _SOUND),
    Check(loss.loss, _FORM),
    Check(loss.loss_of_sure_answers, (loss.loss,)),
    Check(loss.loss_of_parts, (loss.loss,)),
    Check(loss.loss_of_what_counts, (loss.loss,)),
    Check(loss.loss_of_scored_steps, (loss.loss,)),
    Check(loss.loss_of_better_answers, (loss.loss,)),
    Check(prediction.predict_again, (*_FORM, *_STABLE)),
    Check(prediction.predict_without_targets, (prediction.predict_again,)),
    Check(prediction.predict_by_rows, (prediction.predict_again,)),
    Check(metrics.metrics, (prediction.predict_again,)),
    Check(metrics.metrics_of_parts, _SCORED),
    Check(metrics.metrics_of_devices, (*_SCORED, metrics.metrics_of_parts)),
    Check(metrics.metrics_of_what_counts, _SCORED),
    Check(metrics.perfect_answer, (*_SCORED, card.scale)),
    Check(metrics.better_answers, (*_SCORED, card.scale, metrics.perfect_answer)),
    Check(metrics.scored_steps, (*_SCORED, card.scale, metrics.perfect_answer, metrics.metrics_of_what_counts)),
    Check(metrics.example_scores, _SCORED),
    Check(floor.constant_answer, (*_SCORED, data.steps_differ, metrics.perfect_answer, metrics.scored_steps)),
    Check(floor.copied_input, (floor.constant_answer,)),
    Check(floor.target_in_the_input, (floor.constant_answer, floor.copied_input, batches.padding)),
    Check(floor.linear_answer, (floor.constant_answer, floor.copied_input, floor.target_in_the_input)),
    Check(baselines.baselines, _SCORED),
    Check(baselines.baseline_answers, (baselines.baselines,), is_slow=True),
    Check(baselines.baselines_of_other_variants, (baselines.baselines,), is_slow=True),
)
"""The exam of a task, in the order in which it is taken."""

"""The exam of a task: its card, its data, its loss and metrics, and the frozen values of a variant."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Variant
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Split, Task
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics
from rnnae_bench.testing.batch_exam import check_inputs, check_targets, counted
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import SECONDS, Check, Verdict, examined, require_passed
from rnnae_bench.testing.forms import SHARDS, StandIn, answer, prediction_shape, require, same
from rnnae_bench.training.loss_terms import minimised

FROZEN_TOLERANCE = 5e-4
"""Relative: a card's frozen values must stand to four significant digits."""
_SPLITS: tuple[Split, Split] = ("validation", "test")


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


def contract(candidate: TaskCandidate) -> str:
    """Does the task keep its contract?"""
    task_class, variant, card = candidate.task_class, candidate.variant.name, candidate.card
    require(not card.broken, "; ".join(card.broken.values()))
    for each in card.variants.values():
        try:
            task_class.from_variant(each.name)
        except TypeError as error:
            raise AssertionError(f"the variant '{each.name}' can't be constructed: {error}") from error
        _check_scale(each)
    task = task_class.from_variant(variant)
    require(bool(task.name) and task.spec.task == task.name, "`name` must be set, and be the spec's `task`")
    _check_data(task_class, variant)
    batch = task.train_batch(0)
    check_inputs(task.spec, batch)
    for name in task.all_sets:
        # A stream is read in pieces in training, and at evaluation in one go, with all that a state carries over.
        check_inputs(task.spec, _rows(task, name), any_length=name not in _SPLITS or task.spec.continues)
    check_targets(task.spec, batch)
    _check_loss(task, batch)
    _check_rows(task)
    _check_samples(task)
    known = _check_metrics(task, card.variant(variant))
    _check_example_scores(task, card.variant(variant))
    _check_baselines(task, card.variant(variant), known)
    return "all of it"


def _check_scale(variant: Variant) -> None:
    """Floor, solved threshold and ceiling must lie in this order along the metric's direction."""
    primary, scale = variant.primary, variant.scale
    sign = 1 if primary.direction == "maximize" else -1
    require(
        sign * scale.floor < sign * primary.solved <= sign * scale.ceiling,
        f"the variant '{variant.name}' is to {primary.direction} {primary.metric}, so its solved threshold "
        f"{primary.solved} must lie between floor {scale.floor} and ceiling {scale.ceiling}",
    )


def _check_data(task_class: type[Task], variant: str) -> None:
    """Batches are a function of (constructor arguments, data seed, step); evaluation sets of the first alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = task_class.from_variant(variant)
        forwards = [one.train_batch(step) for step in range(5)]
        torch.manual_seed(1)
        two = task_class.from_variant(variant)
        backwards = [two.train_batch(step) for step in reversed(range(5))][::-1]
        require(
            all(map(same, forwards, backwards)),
            "train_batch(step) must depend on nothing but the constructor's arguments, data_seed and step, "
            "neither on earlier calls nor on torch's global generator",
        )
        require(one.fingerprint() == two.fingerprint(), "two instances must have the same evaluation sets")
    require(
        not any(same(*pair) for pair in pairwise(forwards)),
        "train_batch must differ from step to step",
    )
    rows = {len(tensor) for batch in forwards for tensor in batch if tensor is not None}
    require(
        rows == {one.protocol.batch_size},
        f"every training batch must have protocol.batch_size = {one.protocol.batch_size} rows, not {sorted(rows)}",
    )
    seeded = task_class.from_variant(variant, data_seed=one.data_seed + 1)
    prints, others = one.fingerprint(), seeded.fingerprint()
    require(prints["train"] != others["train"], "data_seed must change the training batches")
    require(
        all(prints[name] == others[name] for name in one.all_sets),
        "data_seed must not change the evaluation sets",
    )
    require(prints["validation"] != prints["test"], "the validation and the test set must differ")


def _rows(task: Task, name: str) -> Batch:
    """An evaluation set; of one that is streamed, the first batch."""
    return next(iter(task.evaluation_batches(name))) if task.streams else task.evaluation_set(name)


def _check_loss(task: Task, batch: Batch) -> None:
    """The loss is finite, has a gradient, and is a mean, as are its terms: shards average to the whole."""
    prediction = answer(task.spec, batch.inputs, batch.targets).requires_grad_()
    try:
        loss = task.total_loss(prediction, batch)
    except UserError as error:
        raise AssertionError(str(error)) from error
    require(bool(loss.isfinite()), f"the loss must be finite, not {loss}")
    (gradient,) = torch.autograd.grad(loss, prediction)
    require(bool(gradient.isfinite().all() and gradient.any()), "the loss must have a finite gradient that is not zero")
    sums: dict[str, float] = {}
    for shard in SHARDS:
        rows = batch.rows(shard)
        for name, part in _parts_of_loss(task, prediction.detach()[shard], rows).items():
            sums[name] = sums.get(name, 0.0) + len(rows.targets) * part
    for name, whole in _parts_of_loss(task, prediction.detach(), batch).items():
        require(
            math.isclose(sums.get(name, math.nan) / len(batch.targets), whole, rel_tol=1e-4, abs_tol=1e-6),
            f"{name} must be a mean over the rows, so that devices which each see a part average to the whole",
        )
    altered = task.total_loss(_altered_where_left_out(task.spec, batch, prediction.detach()), batch)
    require(
        torch.allclose(altered, loss),
        "the loss changes with the prediction at steps that mask or target_lengths leave out: take batch.scored(spec)",
    )


def _parts_of_loss(task: Task, prediction: Tensor, batch: Batch) -> dict[str, float]:
    """The loss and each of its terms, by what a message calls them."""
    total, terms = minimised(task.loss(prediction, batch), task.loss_source)
    return {"the loss": total.item(), **{f"the loss' term '{name}'": term.item() for name, term in terms.items()}}


def _altered_where_left_out(spec: TaskSpec, batch: Batch, prediction: Tensor) -> Tensor:
    """The same prediction, but for steps that the batch says do not count; of what a task made of it, the same."""
    steps_are_known = tuple(prediction.shape) == prediction_shape(spec, batch.inputs, batch.targets)
    if not steps_are_known or (batch.mask is None and batch.target_lengths is None):
        return prediction
    steps = counted(spec, batch)
    shape = [1] * prediction.dim()
    shape[0], shape[2 if isinstance(spec.outputs, Images) else 1] = steps.shape
    return torch.where(steps.view(shape), prediction, 1 - prediction)


def _check_samples(task: Task) -> None:
    """The rows that are kept beside a record are rows of the test set."""
    rows, size = [*task.samples()], len(_rows(task, "test").targets)
    require(
        len({*rows}) == len(rows) and all(0 <= row < size for row in rows),
        f"samples must be different rows of the test set, from 0 to {size - 1}, not {rows}",
    )


def _check_metrics(task: Task, variant: Variant) -> set[str]:
    """Metrics of every set are finite scalars, contain the primary, and are the same whole or in parts.

    Returns:
        The names of all that is measured on the test set.
    """
    calibrated: dict[str, float] = {}
    if task.reference is not None:
        calibrated = _check_metrics_on(task, task.reference, task.calibration)
    measured: dict[str, dict[str, float]] = {}
    for name in task.evaluation_sets:
        found = _check_metrics_on(
            task, name, task.metrics if name == "validation" else partial(task.test_metrics, name, calibrated)
        )
        measured[name] = found
        require(
            variant.primary.metric in found,
            f"the card's primary metric '{variant.primary.metric}' is not among the metrics {', '.join(found)}",
        )
    of_all = task.over_sets({name: found for name, found in measured.items() if name != "validation"})
    require(
        all(map(math.isfinite, of_all.values())) and not of_all.keys() & measured["test"].keys(),
        f"over_sets must give finite numbers under names that no metric of the test set has, not {of_all}",
    )
    return measured["test"].keys() | of_all.keys()


def _check_metrics_on(task: Task, name: str, fresh: Callable[[], Metric | MetricCollection]) -> dict[str, float]:
    """What metrics come to on an evaluation set answered at random; fails where it depends on the batches."""
    batch = _rows(task, name)
    prediction = _predicted(task, batch)
    whole, parts = fresh(), fresh()
    update_metrics(whole, prediction, batch)
    once = twice = whole.compute()
    if task.predicts_rows:
        for shard in SHARDS:
            update_metrics(parts, prediction[shard], batch.rows(shard))
        twice = parts.compute()
    for metric, value in once.items():
        require(
            value.dim() == 0 and bool(value.isfinite()), f"the metric '{metric}' must be a finite scalar, not {value}"
        )
        require(
            math.isclose(value.item(), twice[metric].item(), rel_tol=1e-4, abs_tol=1e-6),
            f"the metric '{metric}' changes when the rows come in two parts: keep sums and counts, not means",
        )
    altered = _altered_where_left_out(task.spec, batch, prediction)
    if altered is not prediction:
        same = fresh()
        update_metrics(same, altered, batch)
        for metric, value in same.compute().items():
            require(
                math.isclose(value.item(), once[metric].item(), rel_tol=1e-4, abs_tol=1e-6),
                f"the metric '{metric}' changes with the prediction at steps that mask or target_lengths leave out",
            )
    return {metric: value.item() for metric, value in once.items()}


def _check_rows(task: Task) -> None:
    """`predict` answers each row by itself, or says that it does not."""
    if not task.predicts_rows:
        return
    batch = _rows(task, "validation").rows(slice(0, 6))
    whole, part = _predicted(task, batch), _predicted(task, batch.rows(slice(2, 4)))
    require(
        whole.shape[1:] == part.shape[1:] and torch.allclose(whole[2:4], part, rtol=1e-4, atol=1e-5),
        "predict must answer each row by itself; where it needs the whole set, say so: predicts_rows = False",
    )


def _predicted(task: Task, batch: Batch) -> Tensor:
    """What the task makes of answers at random."""
    with torch.no_grad():
        return task.predict(StandIn(task.spec), batch)


def _check_example_scores(task: Task, variant: Variant) -> None:
    """Where the task tells the primary metric of each test row, their mean is the metric."""
    if task.streams:
        return
    batch, metric = task.evaluation_set("test"), variant.primary.metric
    prediction = _predicted(task, batch)
    scores = task.example_scores(metric, prediction, batch)
    if scores is None:
        return
    require(
        scores.shape == (len(batch.targets),),
        f"example_scores must give one number a row, not {tuple(scores.shape)} for {len(batch.targets)}",
    )
    metrics = task.metrics()
    update_metrics(metrics, prediction, batch)
    expected = metrics.compute()[metric].item()
    require(
        math.isclose(scores.double().mean().item(), expected, rel_tol=1e-4, abs_tol=1e-6),
        f"the mean of example_scores is {scores.double().mean().item()} and the test set's '{metric}' {expected}; "
        "give numbers whose mean over the test set is the metric",
    )


def _check_baselines(task: Task, variant: Variant, known: set[str]) -> None:
    """The card's frozen values are what the task's own data give, of metrics that are `known`."""
    retired = task.card().retired
    revived = [metric for metric in retired if metric in known]
    require(not revived, f"the card says that {revived} are not measured any more, and they are metrics")
    for name, baseline in variant.baselines.items():
        values = task.baseline(name)
        require(
            values.keys() <= known, f"the baseline '{name}' gives {sorted(values.keys() - known)}, which no metric is"
        )
        for metric, frozen in baseline.values.items():
            if metric in retired:
                continue
            require(
                metric in values, f"the card has a {metric} of the baseline '{name}', which baseline() does not give"
            )
            require(
                math.isclose(frozen, values[metric], rel_tol=FROZEN_TOLERANCE),
                f"the card of '{variant.name}' says that the baseline '{name}' has {metric} {frozen}, "
                f"and the task's data give {values[metric]!r}; a scored variant is never altered, it gets a successor",
            )


TASK_CHECKS: tuple[Check[TaskCandidate], ...] = (Check(contract),)
"""The exam of a task, in the order in which it is taken."""

"""Whether metrics are finite, the same however rows come, and of what counts alone."""

import math
from itertools import pairwise

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images
from rnnae_bench.metrics import update_metrics
from rnnae_bench.testing.candidates import FEW, TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import prediction_shape, require, same
from rnnae_bench.testing.of_tasks.answers import blends, perfect_on
from rnnae_bench.testing.of_tasks.partitions import partitions
from rnnae_bench.testing.of_tasks.unscored import alterations


def metrics(candidate: TaskCandidate) -> str:
    """Are the metrics of every set finite numbers, the primary one among them, and the same again?"""
    task, primary, measured = candidate.task, candidate.variant.primary.metric, {}
    for name in task.evaluation_sets:
        batch = candidate.rows(name)
        before, prediction = batch.map(torch.clone), candidate.predicted(batch)
        fresh = candidate.fresh_metrics(name)
        update_metrics(fresh, prediction, batch)
        found = fresh.compute()
        for metric, value in found.items():
            sound = value.dim() == 0 and bool(value.isfinite())
            require(sound, f"the metric '{metric}' of the set '{name}' must be a finite scalar, not {value}")
        measured[name] = {metric: value.item() for metric, value in found.items()}
        require(
            primary in measured[name],
            f"the card's primary metric '{primary}' is not among the metrics {', '.join(found)} of the set '{name}'",
        )
        require(same(before, batch), "metrics change the batch in place; they must leave it as it is")
    require_equal(candidate, candidate.few("test"), "when they are asked for again", _again(candidate))
    of_all = task.over_sets({name: found for name, found in measured.items() if name != "validation"})
    require(
        all(map(math.isfinite, of_all.values())) and not of_all.keys() & measured["test"].keys(),
        f"over_sets must give finite numbers under names that no metric of the test set has, not {of_all}",
    )
    retired = [metric for metric in candidate.card.retired if metric in {*measured["test"], *of_all}]
    require(not retired, f"the card says that {retired} are not measured any more, and they are metrics")
    return f"{', '.join((*measured['test'], *of_all))}: finite on {', '.join(measured)}"


def require_equal(candidate: TaskCandidate, batch: Batch, when: str, found: dict[str, float]) -> None:
    """Raise where metrics are not what they are on the whole of a batch that is answered at random."""
    whole = candidate.measured(candidate.predicted(batch), batch)
    for metric, value in whole.items():
        require(
            math.isclose(value, found[metric], rel_tol=1e-4, abs_tol=1e-6),
            f"the metric '{metric}' is {value:g}, and {found[metric]:g} {when}",
        )


def _again(candidate: TaskCandidate) -> dict[str, float]:
    torch.manual_seed(1)
    batch = candidate.few("test")
    return candidate.measured(candidate.predicted(batch), batch)


def metrics_of_parts(candidate: TaskCandidate) -> str:
    """Are metrics the same however the rows are cut into batches, and in whatever order?"""
    batch = candidate.few("test")
    prediction, ways = candidate.predicted(batch), partitions(len(batch.targets))
    for how, parts in ways if candidate.task.predicts_rows else ways[-1:]:
        fresh = candidate.fresh_metrics("test")
        for part in parts:
            update_metrics(fresh, prediction[part], batch.rows(part))
        found = {metric: value.item() for metric, value in fresh.compute().items()}
        require_equal(candidate, batch, f"with the rows {how}: keep sums and counts, not means", found)
    return f"{len(batch.targets)} rows, {', '.join(how for how, _ in ways)}: the same"


def metrics_of_devices(candidate: TaskCandidate) -> str:
    """Are metrics the same where two devices have counted a part each?"""
    if not candidate.task.predicts_rows:
        raise NotAsked("the sets come whole, on one device")
    batch = candidate.few("test")
    prediction, halves = candidate.predicted(batch), (slice(0, None, 2), slice(1, None, 2))
    one, two = candidate.fresh_metrics("test"), candidate.fresh_metrics("test")
    for each, half in zip((one, two), halves, strict=True):
        update_metrics(each, prediction[half], batch.rows(half))
    for mine, other in zip(_members(one), _members(two), strict=True):
        _gather(mine, other)
    found = {metric: value.item() if value.dim() == 0 else math.nan for metric, value in one.compute().items()}
    require_equal(
        candidate,
        batch,
        "where two devices have counted half of the rows each: give add_state its dist_reduce_fx",
        found,
    )
    return f"{len(batch.targets)} rows on two devices: the same"


def _members(metrics: Metric | MetricCollection) -> list[Metric]:
    return [metrics] if isinstance(metrics, Metric) else [*metrics.values(copy_state=False)]


def _gather(mine: Metric, other: Metric) -> None:
    """Have a metric compute with the state of another, as torchmetrics puts those of devices together."""
    sent: list[Tensor] = []

    def send(tensor: Tensor, group: object) -> list[Tensor]:
        sent.append(tensor)
        return [tensor]

    def receive(tensor: Tensor, group: object) -> list[Tensor]:
        return [tensor, sent.pop(0)]

    other.sync(dist_sync_fn=send, distributed_available=lambda: True)
    mine.dist_sync_fn, mine.distributed_available_fn = receive, lambda: True


def metrics_of_what_counts(candidate: TaskCandidate) -> str:
    """Do metrics leave out padding, and steps that a mask leaves out?"""
    told: set[str] = set()
    for name in ("validation", "test"):
        batch = candidate.few(name)
        prediction = candidate.predicted(batch)
        whole = candidate.measured(prediction, batch, name)
        for what, (altered, other) in alterations(candidate.spec, prediction, batch).items():
            for metric, value in candidate.measured(altered, other, name).items():
                require(
                    math.isclose(value, whole[metric], rel_tol=1e-4, abs_tol=1e-6),
                    f"the metric '{metric}' changes, from {whole[metric]:g} to {value:g}, with {what}: leave out "
                    "what does "
                    "not count; batch.scored(spec) tells",
                )
            told.add(what)
    return f"unchanged with {', '.join(sorted(told))}"


def scored_steps(candidate: TaskCandidate) -> str:
    """Does the primary metric look at every scored step, and at no other?"""
    spec, batch, primary = candidate.spec, candidate.few("test", FEW // 2), candidate.variant.primary
    right = perfect_on(candidate, batch)
    if spec.predicts == "last step" or isinstance(spec.outputs, Images):
        raise NotAsked("there is one answer a row")
    if tuple(right.shape) != prediction_shape(spec, batch.inputs, batch.targets):
        raise NotAsked("what is scored is not the model's answer to each step")
    steps, best = batch.scored(spec), candidate.primary(right, batch)
    wrong = (
        -right
        if isinstance(spec.outputs, Classes)
        else right + right.std() * torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    )
    elsewhere = candidate.primary(torch.where(steps.unsqueeze(2), right, wrong), batch)
    require(
        math.isclose(best, elsewhere, rel_tol=1e-4, abs_tol=1e-6),
        f"{primary.metric} is {best:g} where all is right, and {elsewhere:g} where only steps that are not scored "
        "are wrong: "
        "the primary metric looks at the scored steps alone",
    )
    often = steps.sum(0).nonzero()[:, 0].tolist()
    chosen = sorted({often[0], *often[:: max(1, len(often) // 8)], often[-1]})
    for step in chosen:
        here = steps & (torch.arange(steps.shape[1]) == step)
        value = candidate.primary(torch.where(here.unsqueeze(2), wrong, right), batch)
        require(
            value < best if primary.direction == "maximize" else value > best,
            f"{primary.metric} is {best:g} where all is right, and no worse ({value:g}) where step {step} is wrong "
            "in each of "
            f"the {int(here.any(1).sum())} rows that score it",
        )
    return f"steps {', '.join(map(str, chosen))} matter, and the {int((~steps).sum())} that are not scored do not"


def perfect_answer(candidate: TaskCandidate) -> str:
    """Does the right answer reach the ceiling?"""
    primary, scale = candidate.variant.primary, candidate.variant.scale
    for name in ("validation", "test"):
        batch = candidate.rows(name)
        value = candidate.primary(perfect_on(candidate, batch), batch)
        sign = 1 if primary.direction == "maximize" else -1
        require(
            sign * value >= sign * scale.ceiling - 1e-4 * max(1.0, abs(scale.ceiling)),
            f"the right answer to every row of the set '{name}' has a {primary.metric} of {value:g}, and the ceiling "
            "is "
            f"{scale.ceiling:g}, to be reached by {primary.direction.removesuffix('e')}ing it: the metric or the "
            "ceiling is wrong",
        )
    return f"{primary.metric} {value:g} of the targets themselves, ceiling {scale.ceiling:g}"


def better_answers(candidate: TaskCandidate) -> str:
    """Is the primary metric better for better answers?"""
    primary, batch = candidate.variant.primary, candidate.few("test")
    sign = 1 if primary.direction == "maximize" else -1
    found = [
        (share, candidate.primary(blend, batch)) for share, blend in blends(batch.targets, candidate.predicted(batch))
    ]
    told = ", ".join(f"{share:.0%} right {value:.4g}" for share, value in found)
    for (_, one), (share, two) in pairwise(found):
        require(
            sign * two >= sign * one - 1e-3 * abs(one),
            f"{primary.metric} is to {primary.direction}, and gets worse where answers get better, at {share:.0%} of "
            "the way "
            f"from noise to the targets: {told}",
        )
    require(
        sign * found[-1][1] > sign * found[0][1],
        f"{primary.metric} of the right answer is no better than of noise: {told}",
    )
    return told


def example_scores(candidate: TaskCandidate) -> str:
    """Is the mean of the scores of single rows the metric?"""
    task, metric = candidate.task, candidate.variant.primary.metric
    if task.streams:
        raise NotAsked("the sets are streamed")
    batch = candidate.rows("test")
    prediction = candidate.predicted(batch)
    scores = task.example_scores(metric, prediction, batch)
    if scores is None:
        raise NotAsked(f"the task does not tell {metric} of single rows")
    require(
        scores.shape == (len(batch.targets),),
        f"example_scores must give one number a row, not {tuple(scores.shape)} for {len(batch.targets)}",
    )
    expected, mean = candidate.primary(prediction, batch), scores.double().mean().item()
    require(
        math.isclose(mean, expected, rel_tol=1e-4, abs_tol=1e-6),
        f"the mean of example_scores is {mean:g} and the test set's '{metric}' {expected:g}; give numbers whose mean "
        "over the "
        "test set is the metric",
    )
    return f"{len(scores):,} rows: mean {mean:.6g}, {metric} {expected:.6g}"

"""The exam that every task and model takes, our own and those of plugins: ``check_task`` and ``check_model``.

A plugin's author calls them from a test::

    from rnnae_bench.testing import check_model, check_task

    def test_the_exam():
        check_task(MyTask)
        assert check_model(MyModel, MyTask.from_variant("smoke")) is None

Each raises an ``AssertionError`` that says what is wrong and what the contract asks for.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Variant
from rnnae_bench.contracts.code_limit import code_objection
from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Split, Task
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics
from rnnae_bench.probes.conformance import objection_to_state_size, objection_to_step, objection_to_watched
from rnnae_bench.probes.watched import watched_states
from rnnae_bench.training.loss_terms import minimised
from rnnae_bench.training.own_fit import fit, fits_itself

FROZEN_TOLERANCE = 5e-4
"""Relative: a card's frozen values must stand to four significant digits."""
_SPLITS: tuple[Split, Split] = ("validation", "test")


def check_task(task_class: type[Task], variant: str = "smoke") -> None:
    """Examine a task: its card, its data, its loss and metrics, and the frozen values of one variant.

    Args:
        task_class: The task.
        variant: The variant whose data and baselines are looked at; all variants are constructed.

    Raises:
        AssertionError: the task breaks its contract.
        UserError: the card can't be read, or there is no such variant.
    """
    card = task_class.card()
    _require(not card.broken, "; ".join(card.broken.values()))
    for each in card.variants.values():
        try:
            task_class.from_variant(each.name)
        except TypeError as error:
            raise AssertionError(f"the variant '{each.name}' can't be constructed: {error}") from error
        _check_scale(each)
    task = task_class.from_variant(variant)
    _require(bool(task.name) and task.spec.task == task.name, "`name` must be set, and be the spec's `task`")
    _check_data(task_class, variant)
    batch = task.train_batch(0)
    _check_inputs(task.spec, batch)
    for name in task.all_sets:
        _check_inputs(task.spec, _rows(task, name), any_length=name not in _SPLITS)
    _check_targets(task.spec, batch)
    _check_loss(task, batch)
    _check_rows(task)
    _check_samples(task)
    _check_metrics(task, card.variant(variant))
    _check_example_scores(task, card.variant(variant))
    _check_baselines(task, card.variant(variant))


def check_model(model_class: type[LightningModule], task: Task) -> str | None:
    """Examine a model on a task: construction, prediction, its states, one optimiser step, and saving.

    Args:
        model_class: The model; it is constructed with the task's spec alone.
        task: The task to try it on, best in its ``smoke`` variant.

    Returns:
        None, or the model's reason for not supporting the task, in which case nothing else is looked at.

    Raises:
        AssertionError: the model breaks its contract.
    """
    spec = task.spec
    reason = model_class.supports(spec) if hasattr(model_class, "supports") else None
    if reason is not None:
        _require(isinstance(reason, str) and bool(reason), f"`supports` must give None or a reason, not {reason!r}")
        return reason
    model, twin, other = (_build(model_class, spec, seed) for seed in (0, 0, 1))
    weights, same = model.state_dict(), twin.state_dict()
    _require(
        weights.keys() == same.keys() and all(torch.equal(weights[key], same[key]) for key in weights),
        "the same seed must give the same weights: draw them from torch's global generator only",
    )
    batch = task.train_batch(0)
    reason = code_objection(model.eval(), spec, batch)
    if reason is not None:
        return reason
    _check_prediction(model, spec, batch)
    if spec.predicts == "own length":
        _check_own_length(model, spec, batch)
    if isinstance(twin, SequenceModel):
        _require_none(objection_to_step(twin) or objection_to_state_size(twin))
    if fits_itself(model_class):
        _check_own_fit(model, task)
    else:
        shown = _check_optimizer_step(model, task)
        _require_none(objection_to_watched(model, task, batch, shown))
    _check_evaluation_steps(model, task)
    other.load_state_dict(model.state_dict())
    _require(
        torch.equal(_predict(model, batch), _predict(other, batch)),
        "a model that loads another's state_dict must predict the same: keep all state in parameters and buffers",
    )
    return None


def _require(condition: bool, message: str) -> None:
    # Not an assert statement: the exam must hold under `python -O` too.
    if not condition:
        raise AssertionError(message)


def _require_none(objection: str | None) -> None:
    _require(objection is None, objection or "")


def _same(one: Batch, two: Batch) -> bool:
    pairs = zip(one, two, strict=True)
    return all(a is b if a is None or b is None else torch.equal(a, b) for a, b in pairs)


# The task


def _check_scale(variant: Variant) -> None:
    """Floor, solved threshold and ceiling must lie in this order along the metric's direction."""
    primary, scale = variant.primary, variant.scale
    sign = 1 if primary.direction == "maximize" else -1
    _require(
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
        _require(
            all(map(_same, forwards, backwards)),
            "train_batch(step) must depend on nothing but the constructor's arguments, data_seed and step, "
            "neither on earlier calls nor on torch's global generator",
        )
        _require(one.fingerprint() == two.fingerprint(), "two instances must have the same evaluation sets")
    _require(
        not any(_same(*pair) for pair in pairwise(forwards)),
        "train_batch must differ from step to step",
    )
    rows = {len(tensor) for batch in forwards for tensor in batch if tensor is not None}
    _require(
        rows == {one.protocol.batch_size},
        f"every training batch must have protocol.batch_size = {one.protocol.batch_size} rows, not {sorted(rows)}",
    )
    seeded = task_class.from_variant(variant, data_seed=one.data_seed + 1)
    prints, others = one.fingerprint(), seeded.fingerprint()
    _require(prints["train"] != others["train"], "data_seed must change the training batches")
    _require(
        all(prints[name] == others[name] for name in one.all_sets),
        "data_seed must not change the evaluation sets",
    )
    _require(prints["validation"] != prints["test"], "the validation and the test set must differ")


def _rows(task: Task, name: str) -> Batch:
    """An evaluation set; of one that is streamed, the first batch."""
    return next(iter(task.evaluation_batches(name))) if task.streams else task.evaluation_set(name)


def _check_inputs(spec: TaskSpec, batch: Batch, any_length: bool = False) -> None:
    """Inputs and lengths have the shape, type and range that the spec promises."""
    inputs, shape = batch.inputs, tuple(batch.inputs.shape[1:])
    sound, wanted = False, f"{spec.inputs}"
    if isinstance(spec.inputs, Images):
        sound = shape == (spec.inputs.channels, spec.inputs.height, spec.inputs.width) and _within(inputs, 0, 1)
        sound = sound and inputs.dtype == torch.float32
    elif isinstance(spec.inputs, Static):
        sound = shape == (spec.inputs.features,) and inputs.dtype == torch.float32
    elif len(shape) >= 1 and (
        any_length or shape[0] == spec.inputs.length or (spec.variable_length and shape[0] <= spec.inputs.length)
    ):
        if isinstance(spec.inputs, Tokens):
            sound = len(shape) == 1 and inputs.dtype == torch.int64 and _within(inputs, 0, spec.inputs.vocabulary - 1)
            wanted += f" from 0 to {spec.inputs.vocabulary - 1}, padding included"
        else:
            sound = shape[1:] == (spec.inputs.features,) and inputs.dtype == torch.float32
    _require(
        sound,
        f"the spec says that inputs are {wanted}, and a batch has {inputs.dtype} {tuple(inputs.shape)} "
        f"between {inputs.min():g} and {inputs.max():g}",
    )
    _require(
        spec.variable_length == (batch.lengths is not None), "batches must have lengths where they vary, and only there"
    )
    if batch.lengths is not None:
        _require(
            batch.lengths.dtype == torch.int64 and _within(batch.lengths, 1, inputs.shape[1]),
            f"lengths must be int64 between 1 and the {inputs.shape[1]} steps of the batch",
        )
    if spec.scored_steps is not None:
        first, stop = spec.scored_steps
        _require(
            0 <= first < stop <= (spec.output_length or spec.sequence.length),
            f"scored_steps {spec.scored_steps} lie outside the sequence",
        )
    _check_steps(spec, batch)


def _check_steps(spec: TaskSpec, batch: Batch) -> None:
    """Mask and lengths of the targets are of the steps that are predicted, and leave every row something to score."""
    lengths, targets = batch.target_lengths, batch.targets
    _require(
        (spec.output_length is not None) == (lengths is not None),
        "batches must have target_lengths where outputs have a length of their own, and only there",
    )
    if lengths is not None and spec.output_length is not None:
        steps = targets.shape[1] if targets.dim() > 1 else 0
        _require(
            0 < steps <= spec.output_length,
            f"targets must have 1 to output_length = {spec.output_length} steps; a batch has {tuple(targets.shape)}",
        )
        _require(
            lengths.dtype == torch.int64 and lengths.shape == targets.shape[:1] and _within(lengths, 1, steps),
            f"target_lengths must be int64 between 1 and the {steps} steps of the targets, one a row",
        )
    if batch.mask is not None:
        _require(spec.predicts != "last step", "batches have a mask of steps, and the spec predicts once a row")
        wanted = tuple(_counted(spec, batch._replace(mask=None)).shape)
        _require(
            batch.mask.dtype == torch.bool and batch.mask.shape == wanted,
            f"mask must be bool {wanted}; a batch has {batch.mask.dtype} {tuple(batch.mask.shape)}",
        )
        _require(bool(batch.scored(spec).any(dim=1).all()), "mask must leave at least one step of every row to score")


def _counted(spec: TaskSpec, batch: Batch) -> Tensor:
    """Which steps count in any way, those outside `scored_steps` too: ``Bool[Tensor, "batch time"]``."""
    return batch.scored(replace(spec, scored_steps=None))


def _check_targets(spec: TaskSpec, batch: Batch) -> None:
    """A training batch's targets fit a prediction: class numbers, or what is predicted itself."""
    targets = batch.targets
    shape = _prediction_shape(spec, batch.inputs, targets)
    if isinstance(spec.outputs, Classes):
        fits = targets.shape == shape[:-1]
        labels = targets[_counted(spec, batch)] if fits and targets.dim() == 2 else targets
        sound = (
            targets.shape == shape[:-1] and targets.dtype == torch.int64 and _within(labels, 0, spec.outputs.count - 1)
        )
        wanted = f"int64 {shape[:-1]} from 0 to {spec.outputs.count - 1}"
    else:
        sound = targets.shape == shape and targets.dtype == torch.float32
        wanted = f"float32 {shape}"
    _require(sound, f"targets must be {wanted}; a training batch has {targets.dtype} {tuple(targets.shape)}")
    if isinstance(spec.outputs, Classes) and spec.outputs.end is not None and batch.target_lengths is not None:
        ended = (targets == spec.outputs.end) & _counted(spec, batch._replace(mask=None))
        last = torch.arange(targets.shape[1]) == batch.target_lengths[:, None] - 1
        _require(
            torch.equal(ended, last),
            f"class {spec.outputs.end} ends an output: it must be the last of every target, and at no other step",
        )


def _check_loss(task: Task, batch: Batch) -> None:
    """The loss is finite, has a gradient, and is a mean, as are its terms: shards average to the whole."""
    prediction = _answer(task.spec, batch.inputs, batch.targets).requires_grad_()
    try:
        loss = task.total_loss(prediction, batch)
    except UserError as error:
        raise AssertionError(str(error)) from error
    _require(bool(loss.isfinite()), f"the loss must be finite, not {loss}")
    (gradient,) = torch.autograd.grad(loss, prediction)
    _require(
        bool(gradient.isfinite().all() and gradient.any()), "the loss must have a finite gradient that is not zero"
    )
    sums: dict[str, float] = {}
    for shard in _SHARDS:
        rows = batch.rows(shard)
        for name, part in _parts_of_loss(task, prediction.detach()[shard], rows).items():
            sums[name] = sums.get(name, 0.0) + len(rows.targets) * part
    for name, whole in _parts_of_loss(task, prediction.detach(), batch).items():
        _require(
            math.isclose(sums.get(name, math.nan) / len(batch.targets), whole, rel_tol=1e-4, abs_tol=1e-6),
            f"{name} must be a mean over the rows, so that devices which each see a part average to the whole",
        )
    altered = task.total_loss(_altered_where_left_out(task.spec, batch, prediction.detach()), batch)
    _require(
        torch.allclose(altered, loss),
        "the loss changes with the prediction at steps that mask or target_lengths leave out: take batch.scored(spec)",
    )


def _parts_of_loss(task: Task, prediction: Tensor, batch: Batch) -> dict[str, float]:
    """The loss and each of its terms, by what a message calls them."""
    total, terms = minimised(task.loss(prediction, batch), task.loss_source)
    return {"the loss": total.item(), **{f"the loss' term '{name}'": term.item() for name, term in terms.items()}}


def _altered_where_left_out(spec: TaskSpec, batch: Batch, prediction: Tensor) -> Tensor:
    """The same prediction, but for steps that the batch says do not count; of what a task made of it, the same."""
    steps_are_known = tuple(prediction.shape) == _prediction_shape(spec, batch.inputs, batch.targets)
    if not steps_are_known or (batch.mask is None and batch.target_lengths is None):
        return prediction
    counted = _counted(spec, batch)
    shape = [1] * prediction.dim()
    shape[0], shape[2 if isinstance(spec.outputs, Images) else 1] = counted.shape
    return torch.where(counted.view(shape), prediction, 1 - prediction)


def _check_samples(task: Task) -> None:
    """The rows that are kept beside a record are rows of the test set."""
    rows, size = [*task.samples()], len(_rows(task, "test").targets)
    _require(
        len({*rows}) == len(rows) and all(0 <= row < size for row in rows),
        f"samples must be different rows of the test set, from 0 to {size - 1}, not {rows}",
    )


def _check_metrics(task: Task, variant: Variant) -> None:
    """Metrics of every set are finite scalars, contain the primary, and are the same whole or in parts."""
    calibrated: dict[str, float] = {}
    if task.reference is not None:
        calibrated = _check_metrics_on(task, task.reference, task.calibration)
    for name in task.evaluation_sets:
        found = _check_metrics_on(
            task, name, task.metrics if name == "validation" else partial(task.test_metrics, name, calibrated)
        )
        _require(
            variant.primary.metric in found,
            f"the card's primary metric '{variant.primary.metric}' is not among the metrics {', '.join(found)}",
        )


def _check_metrics_on(task: Task, name: str, fresh: Callable[[], Metric | MetricCollection]) -> dict[str, float]:
    """What metrics come to on an evaluation set answered at random; fails where it depends on the batches."""
    batch = _rows(task, name)
    prediction = _predicted(task, batch)
    whole, parts = fresh(), fresh()
    update_metrics(whole, prediction, batch)
    once = twice = whole.compute()
    if task.predicts_rows:
        for shard in _SHARDS:
            update_metrics(parts, prediction[shard], batch.rows(shard))
        twice = parts.compute()
    for metric, value in once.items():
        _require(
            value.dim() == 0 and bool(value.isfinite()), f"the metric '{metric}' must be a finite scalar, not {value}"
        )
        _require(
            math.isclose(value.item(), twice[metric].item(), rel_tol=1e-4, abs_tol=1e-6),
            f"the metric '{metric}' changes when the rows come in two parts: keep sums and counts, not means",
        )
    altered = _altered_where_left_out(task.spec, batch, prediction)
    if altered is not prediction:
        same = fresh()
        update_metrics(same, altered, batch)
        for metric, value in same.compute().items():
            _require(
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
    _require(
        whole.shape[1:] == part.shape[1:] and torch.allclose(whole[2:4], part, rtol=1e-4, atol=1e-5),
        "predict must answer each row by itself; where it needs the whole set, say so: predicts_rows = False",
    )


def _predicted(task: Task, batch: Batch) -> Tensor:
    """What the task makes of answers at random."""
    with torch.no_grad():
        return task.predict(lambda inputs, lengths=None: _answer(task.spec, inputs), batch)


def _check_example_scores(task: Task, variant: Variant) -> None:
    """Where the task tells the primary metric of each test row, their mean is the metric."""
    if task.streams:
        return
    batch, metric = task.evaluation_set("test"), variant.primary.metric
    prediction = _predicted(task, batch)
    scores = task.example_scores(metric, prediction, batch)
    if scores is None:
        return
    _require(
        scores.shape == (len(batch.targets),),
        f"example_scores must give one number a row, not {tuple(scores.shape)} for {len(batch.targets)}",
    )
    metrics = task.metrics()
    update_metrics(metrics, prediction, batch)
    expected = metrics.compute()[metric].item()
    _require(
        math.isclose(scores.double().mean().item(), expected, rel_tol=1e-4, abs_tol=1e-6),
        f"the mean of example_scores is {scores.double().mean().item()} and the test set's '{metric}' {expected}; "
        "give numbers whose mean over the test set is the metric",
    )


def _check_baselines(task: Task, variant: Variant) -> None:
    """The card's frozen values are what the task's own data give."""
    known, retired = set(task.metrics()), task.card().retired
    revived = [metric for metric in retired if metric in known]
    _require(not revived, f"the card says that {revived} are not measured any more, and they are metrics")
    for name, baseline in variant.baselines.items():
        values = task.baseline(name)
        _require(
            values.keys() <= known, f"the baseline '{name}' gives {sorted(values.keys() - known)}, which no metric is"
        )
        for metric, frozen in baseline.values.items():
            if metric in retired:
                continue
            _require(
                metric in values, f"the card has a {metric} of the baseline '{name}', which baseline() does not give"
            )
            _require(
                math.isclose(frozen, values[metric], rel_tol=FROZEN_TOLERANCE),
                f"the card of '{variant.name}' says that the baseline '{name}' has {metric} {frozen}, "
                f"and the task's data give {values[metric]!r}; a scored variant is never altered, it gets a successor",
            )


# The model


def _build(model_class: type[LightningModule], spec: TaskSpec, seed: int) -> LightningModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return model_class(spec)
        except TypeError as error:
            raise AssertionError(f"a model must be constructible from the spec alone: {error}") from error


def _predict(model: LightningModule, batch: Batch) -> Tensor:
    """The prediction as at evaluation, without dropout."""
    model.eval()
    with torch.no_grad():
        prediction = model(batch.inputs, batch.lengths)
    model.train()
    return prediction


def _check_prediction(model: LightningModule, spec: TaskSpec, batch: Batch) -> None:
    """The prediction has its shape, and depends on neither the future (where that is hidden) nor the padding."""
    prediction = _predict(model, batch)
    shape = _prediction_shape(spec, batch.inputs)
    _require(prediction.shape == shape, f"the prediction must be {shape}, and is {tuple(prediction.shape)}")
    _require(bool(prediction.isfinite().all()), "the prediction must be finite")
    if spec.causal and spec.predicts == "every step":
        half = spec.sequence.length // 2
        future = torch.arange(batch.inputs.shape[1]).expand(batch.inputs.shape[:2]) >= half
        altered = _predict(model, batch._replace(inputs=_altered(spec, batch.inputs, future)))
        _require(
            torch.allclose(prediction[:, :half], altered[:, :half], atol=1e-5),
            "the task is causal, and a prediction changes with the inputs after it",
        )
    if batch.lengths is not None:
        real = _real_steps(batch)
        altered = _predict(model, batch._replace(inputs=_altered(spec, batch.inputs, ~real)))
        seen = real if spec.predicts == "every step" else slice(None)
        _require(torch.allclose(prediction[seen], altered[seen], atol=1e-5), "a prediction changes with the padding")


def _check_own_length(model: LightningModule, spec: TaskSpec, batch: Batch) -> None:
    """Teacher forcing: the prediction for given targets has their steps, and none depends on its own or later ones."""

    def forced(targets: Tensor) -> Tensor:
        model.eval()
        with torch.no_grad():
            try:
                prediction = model(batch.inputs, batch.lengths, targets=targets)
            except TypeError as error:
                raise AssertionError(f"forward must take targets, to be trained on: {error}") from error
        model.train()
        return prediction

    targets, symbols = batch.targets, isinstance(spec.outputs, Classes)
    prediction, shape = forced(targets), _prediction_shape(spec, batch.inputs, targets)
    _require(
        prediction.shape == shape,
        f"forward must predict the {shape[1]} steps of the targets that it is given, {shape}, and gives "
        f"{tuple(prediction.shape)}",
    )
    half = targets.shape[1] // 2
    later = torch.arange(targets.shape[1]).view(1, -1, *[1] * (targets.dim() - 2)) >= half
    other = (targets + 1) % spec.outputs.count if isinstance(spec.outputs, Classes) else targets + 1
    altered = forced(torch.where(later, other, targets))
    _require(
        torch.allclose(prediction[:, : half + 1], altered[:, : half + 1], atol=1e-5),
        "a step of the training prediction changes with its own target or a later one: feed it with those before",
    )
    if isinstance(model, EncoderDecoder):
        free = _predict(model, batch)
        again = forced(free.argmax(-1) if symbols else free)
        _require(
            torch.allclose(free, again, atol=1e-4),
            f"{type(model).__name__}.decode must give the same step by step as in one call: hand its state on",
        )


def _trainer(**limits: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        **limits,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _check_optimizer_step(model: LightningModule, task: Task) -> dict[str, str]:
    """One step under a trainer leaves a finite gradient at every parameter, and moves some.

    Returns:
        The states that the model showed meanwhile: by name, how.
    """
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = _trainer(max_steps=1, limit_val_batches=0)
    try:
        with warnings.catch_warnings(), watched_states(model) as states:
            warnings.simplefilter("ignore", PossibleUserWarning)  # advice on loader workers
            warnings.filterwarnings("ignore", "You passed in a `val_dataloader`")  # looked at below
            trainer.fit(model, datamodule=task)
    finally:
        task.trainer = None
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            sound = parameter.grad is not None and bool(parameter.grad.isfinite().all())
            _require(sound, f"the parameter '{name}' has no finite gradient after a step; freeze it, or use it")
    _require(
        any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters()),
        "an optimiser step must change the parameters",
    )
    return {name: one.call for name, one in states.found.items()}


def _check_own_fit(model: LightningModule, task: Task) -> None:
    """The `fit` keeps to its budget, and changes what the state dict holds, to finite numbers."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, task)
    after = model.state_dict()
    _require(
        before.keys() != after.keys() or any(not torch.equal(value, after[name]) for name, value in before.items()),
        "fit must change parameters, or buffers that are registered",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice on loader workers
        _trainer(limit_val_batches=1).validate(model, datamodule=task, verbose=False)
    task.trainer = None


def _check_evaluation_steps(model: LightningModule, task: Task) -> None:
    """The runner scores what validation_step and test_step return: it must be the prediction."""
    batch = task.evaluation_set("validation").rows(slice(0, 8))
    model.eval()
    with torch.no_grad():
        wanted = task.predict(model, batch)
        for step in ("validation_step", "test_step"):
            given = getattr(model, step)(batch, 0)
            sound = isinstance(given, Tensor) and given.shape == wanted.shape and torch.allclose(given, wanted)
            _require(sound, f"{step} must return task.predict(model, batch)")


# What the spec says of tensors

_SHARDS = (slice(0, None, 2), slice(1, None, 2))
"""The rows of each of two devices."""


def _prediction_shape(spec: TaskSpec, inputs: Tensor, targets: Tensor | None = None) -> tuple[int, ...]:
    """Shape of the prediction for these inputs; of outputs of their own length, in training where targets are given."""
    rows = len(inputs)
    if isinstance(spec.outputs, Images):
        return (rows, spec.outputs.channels, spec.outputs.height, spec.outputs.width)
    size = spec.outputs.count if isinstance(spec.outputs, Classes) else spec.outputs.features
    if spec.predicts == "last step":
        return (rows, size)
    if spec.predicts == "own length":
        return (rows, spec.output_length or 0 if targets is None else targets.shape[1], size)
    return (rows, spec.sequence.length if isinstance(spec.inputs, Images) else inputs.shape[1], size)


def _answer(spec: TaskSpec, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
    """A prediction at random, of each row by itself, uniform in [0, 1) so that it will do for pixels too."""
    shape = _prediction_shape(spec, inputs, targets)
    noise = torch.rand(shape[1:], generator=torch.Generator().manual_seed(0))
    # Each row's own share of it, from its inputs alone.
    share = 0.5 + 0.5 * (inputs.double().flatten(1) @ torch.arange(1, inputs[0].numel() + 1).double().sqrt()).sin()
    return noise * share.float().view(-1, *[1] * (len(shape) - 1))


def _real_steps(batch: Batch) -> Tensor:
    """Which steps are no padding: ``Bool[Tensor, "batch time"]``."""
    steps = torch.arange(batch.inputs.shape[1])
    return steps.expand(batch.inputs.shape[:2]) < (len(steps) if batch.lengths is None else batch.lengths[:, None])


def _altered(spec: TaskSpec, inputs: Tensor, where: Tensor) -> Tensor:
    """The inputs with other values at the chosen steps ``Bool[Tensor, "batch time"]``."""
    if isinstance(spec.inputs, Tokens):
        return torch.where(where, (inputs + 1) % spec.inputs.vocabulary, inputs)
    return torch.where(where[..., None], inputs + 1, inputs)


def _within(tensor: Tensor, low: int, high: int) -> bool:
    return bool(tensor.min() >= low and tensor.max() <= high)

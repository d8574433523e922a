"""Whether a pair may be one of K that are trained as one: tried out, not believed.

Of K tasks trained as one each is asked for its own batches, predictions and metrics, as it would be alone. One thing is
shared: the loss of all members is the first's, under ``torch.vmap``. That is right where the loss depends on its
arguments alone. What a task draws from global random numbers, or reads off its trainer, would differ from alone too.
Of the models as one, losses and gradients are compared with those of each alone, in double precision.
"""

import hashlib
import inspect
import json
import pickle
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.nn.functional import pad

from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import in_a_line
from rnnae_bench.metrics import update_metrics
from rnnae_bench.training.loss_terms import minimised
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.vectorized.task import VectorizedTask, lengthened

_ROUNDING = 1e-4
"""Relative difference between losses, and between their gradients, that is put down to single precision."""

_ROWS = 64
"""Of the validation set that the task is tried out with, from all over it."""

_EVALUATION_HOOKS = ("val_dataloader", "test_dataloader")

_OWN = ("_order", "blocks", "trainer")
"""Attributes of the base class that may change: none of them changes what it gives."""


def objection(pair: Pair, options: Mapping[str, Any]) -> str | None:
    """Why trials of a pair that differ in their seeds can't be trained as one; None where they can.

    Args:
        pair: Task and model; the model has no objection of its own (`BenchModule.stackable`).
        options: All options of the pair.
    """
    asked = {"task": options["task"], "model": {**options["model"], "optimization": None}}
    key = (pair.task_class, pair.model_class, json.dumps(asked, sort_keys=True, default=repr))
    if key not in _FOUND:
        with isolate_rng(include_cuda=False):
            try:
                _FOUND[key] = _examined(pair, options)
            except Exception as error:
                reason = f"{type(error).__name__}: {in_a_line(error)}"
                _FOUND[key] = f"the pair could not be tried out for it ({reason})"
    return _FOUND[key]


_FOUND: dict[tuple[type, type, str], str | None] = {}
"""What this process has found, by task, model and the task's options; a sweep asks under many settings of the model."""


def _examined(pair: Pair, options: Mapping[str, Any]) -> str | None:
    if any(getattr(pair.task_class, hook) is not getattr(Task, hook) for hook in _EVALUATION_HOOKS):
        return "the task makes its own batches for evaluation"
    for method in _methods(pair.task_class):
        if "trainer" in _names(method.__code__):
            return f"the task's {method.__name__} reads its trainer, which is one for all members"
    # Instances of their own: a task that keeps a state must not have it changed by being looked at.
    tasks = [pair.build_task(options["task"], data_seed) for data_seed in (0, 1)]
    one, two = tasks
    if one.spec.predicts == "own length":
        return "its outputs have a length of their own"
    if one.spec != two.spec:
        return "the task's spec changes with the data seed"
    prints = [task.fingerprint() for task in tasks]
    for split in ("validation", "test"):
        if prints[0][split] != prints[1][split]:
            return f"the task's {split} set changes with the data seed"
    models = [pair.build_model(one, options["model"], seed) for seed in (0, 1)]
    before, first = _attributes(one), _answers(one, models[0].eval(), 0)
    for name, answer in _answers(one, models[0], 1).items():
        if answer != first[name] and name == "model":
            return "its prediction differs when it is asked again: from random numbers, or a state"
        if answer != first[name]:
            return f"the task's {name} differs when it is asked again: from global random numbers, or a state"
    after = _attributes(one)
    for name in {**before, **after}:
        if before.get(name) != after.get(name) and not (name not in before and _is_cache(one, name)):
            return f"the task's attribute {name} changes while it is used, and a loss may depend on it"
    return _objection_to_loss(tasks, models) or _objection_to_stack(tasks, models)


def _answers(task: Task, model: LightningModule, seed: int) -> dict[str, str]:
    """Digests of all that a trial asks a task for, by method, under a seed of the global random numbers."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    batches = [task.train_batch(step) for step in (0, 1, task.protocol.max_steps)]
    answer = model(batches[0].inputs, batches[0].lengths)
    loss, terms = minimised(task.loss(answer, batches[0]), task.loss_source)
    (gradient,) = torch.autograd.grad(loss, answer)
    whole = task.evaluation_set("validation")
    rows = min(_ROWS, len(whole.targets))
    batch = whole.rows(torch.arange(rows) * len(whole.targets) // rows)
    with torch.no_grad():
        prediction = task.predict(model, batch)
    metrics = task.metrics()
    update_metrics(metrics, prediction.float(), batch)
    found = {
        "train_batch": batches,
        "model": answer.detach(),
        "loss": (loss.detach(), terms, gradient),
        "evaluation_set": batch,
        "predict": prediction,
        "metrics": metrics.compute(),
    }
    return {name: _digest(name, answer) for name, answer in found.items()}


def _objection_to_loss(tasks: list[Task], models: list[LightningModule]) -> str | None:
    """Whether the loss of all members in one go is, gradient included, what each one's own task gives it alone."""
    batches = [task.train_batch(0) for task in tasks]
    if any(type(batch) is not Batch for batch in batches):
        return "the task's batches are of a class of their own"
    shapes = {(batch.inputs.shape, batch.targets.shape) for batch in batches}
    if not tasks[0].spec.variable_length and len(shapes) > 1:
        return "the task's batches differ in shape"
    with torch.no_grad():
        answers = [model(batch.inputs, batch.lengths) for model, batch in zip(models, batches, strict=True)]
    alone = [answer.clone().requires_grad_() for answer in answers]
    losses = [task.total_loss(*given) for task, *given in zip(tasks, alone, batches, strict=True)]
    gradients = torch.autograd.grad(losses, alone)
    task, spec = VectorizedTask(tasks), tasks[0].spec
    if spec.variable_length:
        # More padding than any batch alone has, and answers there: they must not matter.
        steps = 2 + max(batch.inputs.shape[1] for batch in batches)
        batches = [lengthened(batch, steps, spec) for batch in batches]
        if spec.predicts == "every step":
            answers = [_answered(answer, steps, 1.0) for answer in answers]
            gradients = tuple(_answered(gradient, steps, 0.0) for gradient in gradients)
    together = torch.stack(answers).requires_grad_()
    stacked = task.stacked(batches)
    try:
        found = minimised(task.loss(together, stacked), task.loss_source, (len(tasks),)).total
        (gradient,) = torch.autograd.grad(found.sum(), together)
    except Exception as error:
        return f"the task's loss can't be computed for all members at once ({in_a_line(error)[:120]})"
    if not (_close(found, torch.stack(losses)) and _close(gradient, torch.stack(gradients))):
        return "the task's loss changes with the data seed or with the padding, beyond prediction and batch"
    return None


def _answered(answer: Tensor, steps: int, value: float) -> Tensor:
    """An answer at every step with others, all of one value, up to so many steps."""
    return pad(answer, (0, 0) * (answer.dim() - 2) + (0, steps - answer.shape[1]), value=value)


def _objection_to_stack(tasks: list[Task], models: list[LightningModule]) -> str | None:
    """Whether the models as one have, in two steps, the loss and the gradients that each has alone."""
    own: Any = type(models[0])
    models = [model.train().double() for model in models]
    together, task = own.stack(models), VectorizedTask(tasks)
    weights = [dict(model.named_parameters()) for model in models]
    stacked_weights = dict(together.named_parameters())
    default = torch.get_default_dtype()
    try:
        # As under Lightning's 64-true: what a model makes itself is double too.
        torch.set_default_dtype(torch.float64)
        for step in (0, 1):
            batches = [_double(task.train_batch(step)) for task in tasks]
            losses = [
                task.total_loss(model(batch.inputs, batch.lengths), batch)
                for task, model, batch in zip(tasks, models, batches, strict=True)
            ]
            alone = [
                torch.autograd.grad(loss, list(mine.values()), allow_unused=True)
                for loss, mine in zip(losses, weights, strict=True)
            ]
            try:
                batch = task.stacked(batches)
                predictions = together(batch.inputs, batch.lengths)
                found = minimised(task.loss(predictions, batch), task.loss_source, (len(tasks),)).total
                wanted = [stacked_weights[name] for name in weights[0]]
                gradients = torch.autograd.grad(found.sum(), wanted, allow_unused=True)
            except Exception as error:
                return f"its models can't be run as one ({in_a_line(error)[:160]})"
            if not _close(found, torch.stack(losses)):
                return "its models as one come to other losses than each alone"
            for name, one, each in zip(weights[0], gradients, zip(*alone, strict=True), strict=True):
                if one is None or any(gradient is None for gradient in each):
                    return f"the loss does not depend on its {name}"
                if not _close(one, torch.stack(each)):
                    return f"its models as one come to other gradients of {name} than each alone"
    finally:
        torch.set_default_dtype(default)
    return None


def _double(batch: Batch) -> Batch:
    return batch.map(lambda one: one.double() if one.is_floating_point() else one)


def _close(one: Tensor, two: Tensor) -> bool:
    return torch.allclose(one, two, rtol=_ROUNDING, atol=_ROUNDING * float(two.detach().abs().max()))


def _methods(task_class: type[Task]) -> Iterator[Any]:
    """The functions that a class and its bases define beyond `Task`."""
    for base in _beyond(task_class):
        for value in vars(base).values():
            inner = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", value)
            function = inspect.unwrap(inner) if callable(inner) else None
            if inspect.isfunction(function):
                yield function


def _beyond(task_class: type[Task]) -> Iterator[type]:
    return (base for base in task_class.__mro__ if base not in Task.__mro__)


def _names(code: CodeType) -> set[str]:
    """All attributes and globals that a function names, those within it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found


def _attributes(task: Task) -> dict[str, str]:
    """A digest of every attribute of a task and of its classes, by name; an error where one can't be looked into."""
    found = {f"self.{name}": _digest(name, value) for name, value in vars(task).items() if name not in _OWN}
    for base in _beyond(type(task)):
        for name, value in vars(base).items():
            plain = not (callable(value) or hasattr(value, "__get__") or name.startswith("__") or hasattr(Task, name))
            if plain:
                found[f"{base.__name__}.{name}"] = _digest(name, value)
    return found


def _is_cache(task: Task, attribute: str) -> bool:
    """Whether an attribute, as ``self.NAME``, is a cached property: worked out at its first use, and then fixed."""
    return isinstance(getattr(type(task), attribute.removeprefix("self."), None), cached_property)


class _Pickler(pickle.Pickler):
    """Writes of a tensor what it holds; PyTorch's own way has its address in it."""

    def reducer_override(self, value: Any) -> Any:
        """How to write a value."""
        if isinstance(value, Tensor):
            whole = value.detach().cpu().contiguous()
            content = whole.flatten().view(torch.uint8).numpy().tobytes()
            return tuple, ((str(whole.dtype), tuple(whole.shape), value.requires_grad, content),)
        return NotImplemented


def _digest(name: str, value: Any) -> str:
    digest = hashlib.sha256()
    try:
        _Pickler(SimpleNamespace(write=digest.update)).dump(value)
    except Exception as error:
        raise ValueError(f"{name} can't be looked into: {error}") from error
    return digest.hexdigest()

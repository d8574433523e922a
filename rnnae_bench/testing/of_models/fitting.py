"""How a model trains: by the task's loss, repeatably, apart from evaluations, in half precision, in shards."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from lightning import LightningModule
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Task
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked, located
from rnnae_bench.testing.forms import SHARDS, require
from rnnae_bench.testing.of_models.asking import TOLERANCE, answer, in_mode, is_random, off
from rnnae_bench.testing.of_models.training import trained, training_of
from rnnae_bench.training.loss_terms import minimised


def training(candidate: ModelCandidate) -> str:
    """Does it train: a few optimiser steps, with finite losses?"""
    found = training_of(candidate)
    if candidate.fits_itself:
        return "by its fit"
    require(all(abs(loss) < float("inf") for loss in found.losses), f"the loss must be finite, and was {found.losses}")
    infinite = [
        name for name, weight in found.weights.items() if weight.is_floating_point() and not weight.isfinite().all()
    ]
    require(not infinite, f"after {len(found.losses)} optimiser steps {', '.join(infinite[:3])} is not finite")
    return f"losses {', '.join(f'{loss:.3g}' for loss in found.losses) or 'not returned'}"


def loss(candidate: ModelCandidate) -> str:
    """Is the training loss the task's, where the model does not declare one of its own?"""
    model_class = candidate.model_class
    if candidate.fits_itself:
        raise NotAsked("it trains itself by its fit")
    own = getattr(model_class, "own_loss", None)
    if issubclass(model_class, BenchModule) and model_class.training_loss is not BenchModule.training_loss:
        own = own or "training_loss"
    if own:
        require(
            isinstance(own, str), f"own_loss says in a line what is minimised in place of the task's loss, not {own!r}"
        )
        raise NotAsked(f"it declares a loss of its own ({own})")
    model = candidate.build().train()
    if not model.automatic_optimization:
        raise NotAsked("it does its own optimiser steps")
    first = training_of(candidate).losses[:1]
    if not first:
        raise NotAsked("its training_step returns none")
    if is_random(model, candidate.spec, candidate.batch):
        raise NotAsked("its prediction in training is random")
    prediction = answer(model, candidate.spec, candidate.batch, training=True)
    wanted = float(candidate.task.total_loss(prediction, candidate.batch))
    require(
        abs(first[0] - wanted) <= 1e-3 * max(abs(wanted), abs(first[0])),
        f"training_step minimises {first[0]:.5g}, and the task's loss of the same prediction is {wanted:.5g}: return "
        "task.loss(prediction, batch), or declare the other one: own_loss = 'what is minimised'",
    )
    return f"{first[0]:.5g}, the task's"


def seeds(candidate: ModelCandidate) -> str:
    """Do two trainings under one seed come to the same weights?"""
    first = training_of(candidate).weights
    torch.manual_seed(1234)
    again = trained(candidate).weights
    worst = max((off(first[name], again[name]) for name in first if first[name].is_floating_point()), default=0.0)
    require(
        worst == 0,
        f"trained twice under one seed, the weights differ by {worst:.2g} of the largest: draw what is random in "
        "training from the global generators only",
    )
    return f"the same {len(first)} tensors"


def _same(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.equal(one, two)


def evaluations_apart(candidate: ModelCandidate) -> str:
    """Are the weights the same whether or not it is evaluated while it trains?"""
    if candidate.fits_itself:
        raise NotAsked("it trains itself by its fit, and is evaluated after it")
    rows = candidate.task.held_out(8)
    spec = candidate.spec

    def evaluate(model: LightningModule) -> None:
        before = {one: one.training for one in model.modules()}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.eval()
            model(rows.inputs, rows.lengths)
            with _silent(model):
                model.validation_step(rows, 0)
        for one, mode in before.items():
            one.training = mode

    if spec.continues:
        raise NotAsked("the task's batches continue each other; see 'evaluation between'")
    first, evaluated = training_of(candidate), trained(candidate, between=evaluate)
    changed = [name for name, weight in first.weights.items() if not _same(weight, evaluated.weights[name])]
    require(
        not changed,
        f"evaluating it between optimiser steps changes {', '.join(changed[:3])}: change nothing in evaluation mode "
        "(statistics of a normalisation, a state that is kept)",
    )
    return "the same weights"


def evaluation_rows_apart(candidate: ModelCandidate) -> str:
    """Are the weights the same whatever the evaluation sets hold?"""
    first = training_of(candidate)
    kept = () if not candidate.fits_itself else ("validation",)

    def other_rows(task: Task) -> None:
        whole, batches = task.evaluation_set, task.evaluation_batches
        if task.streams:
            task.evaluation_batches = lambda name: map(_altered, batches(name))  # type: ignore[method-assign]
        else:
            task.evaluation_set = lambda name: whole(name) if name in kept else _altered(whole(name))  # type: ignore[method-assign]

    found = trained(candidate, prepare=other_rows)
    changed = [name for name, weight in first.weights.items() if not _same(weight, found.weights[name])]
    require(
        not changed,
        f"with other rows in the evaluation sets, training comes to other values of {', '.join(changed[:3])}: a model "
        "learns from train_batch alone",
    )
    return "the same weights with other rows in " + ("the test set" if kept else "all of them")


def _altered(batch: Batch) -> Batch:
    """Other rows of the same form: each input with the target of another."""
    return batch._replace(inputs=batch.inputs.flip(0), targets=batch.targets.roll(1, 0))


def evaluation_steps(candidate: ModelCandidate) -> str:
    """Do validation_step and test_step return the prediction, which is what is scored?"""
    model, task = training_of(candidate).model, candidate.task
    batch = task.held_out(8) if task.streams else task.evaluation_set("validation").rows(slice(0, 8))
    for step in ("validation_step", "test_step"):
        with in_mode(model, False), torch.no_grad():
            torch.manual_seed(0)
            wanted = task.predict(model, batch)
            torch.manual_seed(0)
            with _on_its_own(model, task):
                given = getattr(model, step)(batch, 0)
        sound = isinstance(given, Tensor) and given.shape == wanted.shape and off(given, wanted) <= TOLERANCE
        require(sound, f"{step} must return task.predict(model, batch), or self(batch.inputs, batch.lengths)")
    return f"{len(batch.targets)} validation rows"


def saving(candidate: ModelCandidate) -> str:
    """Does a model that loads another's state_dict predict the same?"""
    model = training_of(candidate).model
    batch, spec = candidate.batch, candidate.spec
    other = candidate.build(1)
    with in_mode(other, False), torch.no_grad():
        other(batch.inputs[:2], None if batch.lengths is None else batch.lengths[:2])
    try:
        other.load_state_dict(model.state_dict())
    except RuntimeError as error:
        raise AssertionError(f"a new model can't load the trained one's state_dict: {error}") from error
    different = off(answer(model, spec, batch), answer(other, spec, batch))
    require(
        different <= TOLERANCE,
        "a model that loads another's state_dict must predict the same, and differs by "
        f"{different:.2g} of the largest value: keep all state in parameters and registered buffers",
    )
    return f"{len(model.state_dict())} tensors; differs by {different:.1g}"


def half_precision(candidate: ModelCandidate) -> str:
    """Is it finite in bf16-mixed: losses, gradients, predictions?"""
    if candidate.fits_itself:
        raise NotAsked("a fit runs in the format of the weights")
    try:
        found = trained(candidate, precision="bf16-mixed")
    except Exception as error:
        raise AssertionError(
            f"in bf16-mixed it fails ({located(error)}): products come in bfloat16 and states in float32, so combine "
            "them by operations that take both"
        ) from error
    require(
        all(abs(one) < float("inf") for one in (*found.losses, *found.gradients.values())),
        f"in bf16-mixed the losses {found.losses} or their gradients are not finite",
    )
    spec, batch = candidate.spec, candidate.batch
    with torch.autocast("cpu", torch.bfloat16):
        mixed = answer(found.model, spec, batch)
    require(bool(mixed.isfinite().all()), "in bf16-mixed the prediction is not finite")
    return f"the prediction differs from that in 32-true by {off(mixed.float(), answer(found.model, spec, batch)):.1g}"


def shards(candidate: ModelCandidate) -> str:
    """Do the gradients of two devices' shards of a batch average to that of the whole?"""
    if candidate.fits_itself:
        raise NotAsked("a fit is done on one device")
    # A model may begin with its first batch; one that carries a state must not have one yet.
    model = candidate.build() if candidate.spec.continues else training_of(candidate).model
    batch, task = candidate.batch, candidate.task
    if not model.automatic_optimization:
        raise NotAsked("it does its own optimiser steps")
    if len(batch.targets) % 2:
        raise NotAsked(f"a batch of {len(batch.targets)} rows does not divide over two devices")
    first, again = (_gradients(model, task, batch, seed) for seed in (0, 1))
    if any(off(first[name], one) > TOLERANCE for name, one in again.items()):
        raise NotAsked("its training is random, and differs from device to device")
    parts = [_gradients(model, task, batch.rows(shard), 0) for shard in SHARDS]
    worst, name = max((off(sum(part[name] for part in parts) / 2, whole), name) for name, whole in first.items())  # type: ignore[arg-type]
    require(
        worst <= 10 * TOLERANCE,
        f"the gradient of '{name}' over two halves of a batch differs from that of the whole by {worst:.2g} of the "
        "largest component: on two devices it would learn otherwise; take means over rows, and each row by itself",
    )
    return f"{len(first)} gradients; differ by {worst:.1g}"


@contextmanager
def _on_its_own(model: LightningModule, task: Task) -> Iterator[None]:
    """Within, a model's steps can be called outside of a training: it has a task, and what it logs goes nowhere."""
    before = model.__dict__.get("_trainer")
    model.trainer = SimpleNamespace(datamodule=task)  # type: ignore[assignment]
    with _silent(model):
        try:
            yield
        finally:
            model.__dict__["_trainer"] = before


@contextmanager
def _silent(model: LightningModule) -> Iterator[None]:
    """Within, what a model logs goes nowhere."""
    own = vars(model)
    own.update(log=_nowhere, log_dict=_nowhere)
    try:
        yield
    finally:
        del own["log"], own["log_dict"]


def _nowhere(*values: object, **options: object) -> None:
    """Take what is logged."""


def _training_total(model: LightningModule, batch: Batch) -> Tensor:
    """What a model's training minimises on a batch."""
    if isinstance(model, BenchModule) and type(model).training_step is BenchModule.training_step:
        return minimised(model.training_loss(batch), model.loss_source).total
    given = model.training_step(batch, 0)
    total = given["loss"] if isinstance(given, dict) else given
    if not isinstance(total, Tensor):
        raise NotAsked("its training_step returns no loss")
    return total


def _gradients(model: LightningModule, task: Task, batch: Batch, seed: int) -> dict[str, Tensor]:
    with in_mode(model, True):
        torch.manual_seed(seed)
        with _on_its_own(model, task):
            total = _training_total(model, batch)
        learned = {name: one for name, one in model.named_parameters() if one.requires_grad}
        found = torch.autograd.grad(total, [*learned.values()], allow_unused=True)
    return {name: one for name, one in zip(learned, found, strict=True) if one is not None}

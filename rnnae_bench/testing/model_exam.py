"""The exam of a model on a task: construction, prediction, its states, an optimiser step, and saving."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import Tensor

from rnnae_bench.contracts.code_limit import code_objection
from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Classes, TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.probes.conformance import objection_to_state_size, objection_to_step, objection_to_watched
from rnnae_bench.probes.watched import watched_states
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import SECONDS, Check, NotAsked, Verdict, examined, require_passed
from rnnae_bench.testing.forms import altered_inputs, prediction_shape, real_steps, require, require_none
from rnnae_bench.training.lightning import quiet
from rnnae_bench.training.own_fit import fit, fits_itself


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
        raise UserError(
            f"model '{candidate.model_class.__name__}' does not support task '{candidate.task.name}': {reason}"
        )
    return examined([check for check in MODEL_CHECKS if slow or not check.is_slow], candidate, seconds, tell)


def refusal(candidate: ModelCandidate) -> str | None:
    """The model's reason for not serving the task; None where it serves it.

    Raises:
        AssertionError: it refuses without one.
    """
    model_class, spec = candidate.model_class, candidate.spec
    reason = model_class.supports(spec) if hasattr(model_class, "supports") else None
    require(
        reason is None or (isinstance(reason, str) and bool(reason)),
        f"`supports` must give None or a reason, not {reason!r}",
    )
    return reason


def contract(candidate: ModelCandidate) -> str:
    """Does the model keep its contract?"""
    model_class, task, spec = candidate.model_class, candidate.task, candidate.spec
    model, twin, other = (_build(model_class, spec, seed) for seed in (0, 0, 1))
    weights, same = model.state_dict(), twin.state_dict()
    require(
        weights.keys() == same.keys() and all(torch.equal(weights[key], same[key]) for key in weights),
        "the same seed must give the same weights: draw them from torch's global generator only",
    )
    batch = task.train_batch(0)
    reason = code_objection(model.eval(), spec, batch)
    if reason is not None:
        raise NotAsked(reason)
    _check_prediction(model, spec, batch)
    if spec.predicts == "own length":
        _check_own_length(model, spec, batch)
    if isinstance(twin, SequenceModel):
        require_none(objection_to_step(twin) or objection_to_state_size(twin))
    if fits_itself(model_class):
        _check_own_fit(model, task)
    else:
        shown = _check_optimizer_step(model, task)
        require_none(objection_to_watched(model, task, batch, shown))
    _check_evaluation_steps(model, task)
    other.load_state_dict(model.state_dict())
    require(
        torch.equal(_predict(model, batch), _predict(other, batch)),
        "a model that loads another's state_dict must predict the same: keep all state in parameters and buffers",
    )
    return "all of it"


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
    shape = prediction_shape(spec, batch.inputs)
    require(prediction.shape == shape, f"the prediction must be {shape}, and is {tuple(prediction.shape)}")
    require(bool(prediction.isfinite().all()), "the prediction must be finite")
    if spec.causal and spec.predicts == "every step":
        half = spec.sequence.length // 2
        future = torch.arange(batch.inputs.shape[1]).expand(batch.inputs.shape[:2]) >= half
        altered = _predict(model, batch._replace(inputs=altered_inputs(spec, batch.inputs, future)))
        require(
            torch.allclose(prediction[:, :half], altered[:, :half], atol=1e-5),
            "the task is causal, and a prediction changes with the inputs after it",
        )
    if batch.lengths is not None:
        real = real_steps(batch)
        altered = _predict(model, batch._replace(inputs=altered_inputs(spec, batch.inputs, ~real)))
        seen = real if spec.predicts == "every step" else slice(None)
        require(torch.allclose(prediction[seen], altered[seen], atol=1e-5), "a prediction changes with the padding")


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
    prediction, shape = forced(targets), prediction_shape(spec, batch.inputs, targets)
    require(
        prediction.shape == shape,
        f"forward must predict the {shape[1]} steps of the targets that it is given, {shape}, and gives "
        f"{tuple(prediction.shape)}",
    )
    half = targets.shape[1] // 2
    later = torch.arange(targets.shape[1]).view(1, -1, *[1] * (targets.dim() - 2)) >= half
    other = (targets + 1) % spec.outputs.count if isinstance(spec.outputs, Classes) else targets + 1
    altered = forced(torch.where(later, other, targets))
    require(
        torch.allclose(prediction[:, : half + 1], altered[:, : half + 1], atol=1e-5),
        "a step of the training prediction changes with its own target or a later one: feed it with those before",
    )
    if isinstance(model, EncoderDecoder):
        free = _predict(model, batch)
        again = forced(free.argmax(-1) if symbols else free)
        require(
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
    try:
        with quiet(), watched_states(model) as states:
            warnings.simplefilter("ignore", PossibleUserWarning)  # advice on loader workers
            warnings.filterwarnings("ignore", "You passed in a `val_dataloader`")  # looked at below
            _trainer(max_steps=1, limit_val_batches=0).fit(model, datamodule=task)
    finally:
        task.trainer = None
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            sound = parameter.grad is not None and bool(parameter.grad.isfinite().all())
            require(sound, f"the parameter '{name}' has no finite gradient after a step; freeze it, or use it")
    require(
        any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters()),
        "an optimiser step must change the parameters",
    )
    return {name: one.call for name, one in states.found.items()}


def _check_own_fit(model: LightningModule, task: Task) -> None:
    """The `fit` keeps to its budget, and changes what the state dict holds, to finite numbers."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, task)
    after = model.state_dict()
    require(
        before.keys() != after.keys() or any(not torch.equal(value, after[name]) for name, value in before.items()),
        "fit must change parameters, or buffers that are registered",
    )
    with quiet():
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
            require(sound, f"{step} must return task.predict(model, batch)")


MODEL_CHECKS: tuple[Check[ModelCandidate], ...] = (Check(contract),)
"""The exam of a model, in the order in which it is taken."""

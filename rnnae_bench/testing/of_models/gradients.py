"""Where the gradient goes: to every input that a prediction depends on, and to every weight."""

import torch
from torch import Tensor
from torch.nn import Module

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Tokens
from rnnae_bench.probes.double import double_by_default, in_double
from rnnae_bench.probes.inputs import read_inputs
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_models.asking import altered_at, answer, in_mode, off, rows_repeated, steps_in
from rnnae_bench.testing.of_models.training import training_of

LONGEST = 128
"""Steps from the end at which an input is altered, and its gradient read."""


def inputs_reached(candidate: ModelCandidate) -> str:
    """Does the gradient of the last prediction reach every input step that the prediction depends on?"""
    if candidate.fits_itself:
        raise NotAsked("it trains itself by its fit, without gradients")
    try:
        with double_by_default():
            model = in_double(candidate.build())
            depends, reached = _by_step(model, candidate.spec, _double(_off_kinks(candidate)))
    except (RuntimeError, TypeError, ValueError):
        # What has single precision written into it.
        depends, reached = _by_step(candidate.build(), candidate.spec, _off_kinks(candidate))
    steps = len(depends)
    cut = [step for step in range(steps) if depends[step] and not reached[step]]
    require(
        not cut,
        f"no gradient reaches the inputs of {len(cut)} of {steps} steps that the last prediction depends on, the "
        f"latest {steps - max(cut, default=0)} from the end: a state is detached on the way, or computed without "
        "gradients",
    )
    read = depends | reached
    first = int(read.int().argmax())
    unread = [step for step in range(first, steps) if not read[step]]
    require(
        bool(read.any()) and not unread,
        f"the last prediction does not depend on the inputs of {len(unread) or steps} of the last {steps - first} "
        "steps: it must read every step up to its own",
    )
    return f"the last prediction depends on the last {steps - first} of {steps} steps, and the gradient reaches them"


def _off_kinks(candidate: ModelCandidate) -> Batch:
    """The first batch with a little noise on real inputs: at a black pixel a rectifier may have no gradient."""
    batch = candidate.batch
    if not batch.inputs.is_floating_point():
        return batch
    noise = torch.rand(batch.inputs.shape, generator=torch.Generator().manual_seed(0))
    return batch._replace(inputs=torch.lerp(batch.inputs, noise, 0.01))


def _by_step(model: Module, spec: TaskSpec, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the last steps: which of them the last prediction depends on, and which its gradient reaches; in any row."""
    longest = steps_in(spec, batch)
    steps = min(longest, LONGEST)
    some = rows_repeated(batch, min(4, len(batch.targets)))
    with in_mode(model, False):
        reached = _reached(model, spec, some, longest)[-steps:]
    depends = torch.zeros(steps, dtype=torch.bool)
    for row in range(len(some.targets)):
        alike = some.rows(torch.full((steps,), row))
        where = torch.arange(longest) == torch.arange(longest - steps, longest)[:, None]
        altered = alike._replace(inputs=_nearby(spec, alike.inputs, where))
        with in_mode(model, False), torch.no_grad():
            torch.manual_seed(0)
            one = _last(training_prediction(model, alike, spec), spec)
            torch.manual_seed(0)
            two = _last(training_prediction(model, altered, spec), spec)
        change = (one - two).abs().flatten(1).amax(dim=1)
        least = 1e-9 if one.dtype == torch.float64 else 1e-5
        depends |= change > least * one.abs().max()
    return depends, reached


def _nearby(spec: TaskSpec, inputs: Tensor, where: Tensor) -> Tensor:
    """Inputs that differ at the chosen steps, real numbers by little, so that no rectifier is switched on."""
    altered = altered_at(spec, inputs, where)
    return altered if isinstance(spec.inputs, Tokens) else torch.lerp(inputs, altered, 1e-4)


def _reached(model: Module, spec: TaskSpec, batch: Batch, steps: int) -> Tensor:
    with read_inputs(model, spec, batch) as found, torch.enable_grad():
        torch.manual_seed(0)
        last = _last(training_prediction(model, batch, spec), spec)
        weights = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
        if not found.roots:
            raise NotAsked("no torch.nn.Embedding reads the inputs, so that there is no vector to differentiate by")
        gradients = torch.autograd.grad((last * weights).sum(), found.roots, allow_unused=True)
    (gradient, *_) = gradients
    if gradient is None:
        return torch.zeros(steps, dtype=torch.bool)
    if isinstance(spec.inputs, Images) and gradient.dim() == 4:
        gradient = gradient.transpose(1, 2)
    if isinstance(spec.inputs, Static):
        gradient = gradient.reshape(len(gradient), 1, -1)
    if gradient.shape[:2] != (len(batch.targets), steps):
        raise NotAsked("it does not read a batch once and as it is")
    return gradient.flatten(2).abs().sum(dim=(0, 2)) > 0


def _last(prediction: Tensor, spec: TaskSpec) -> Tensor:
    """What is predicted last; of an image, all of it."""
    whole = spec.predicts == "last step" or isinstance(spec.outputs, Images)
    return prediction if whole or (not spec.causal and spec.reconstructs) else prediction[:, -1]


def _double(batch: Batch) -> Batch:
    return batch.map(lambda one: one.double() if one.is_floating_point() else one)


def weights_reached(candidate: ModelCandidate) -> str:
    """Does every weight get a finite gradient that is not zero?"""
    if candidate.fits_itself:
        raise NotAsked("it trains itself by its fit, without gradients")
    found = training_of(candidate)
    learned = [name for name, weight in found.model.named_parameters() if weight.requires_grad]
    missing = [name for name in learned if name not in found.gradients]
    require(
        not missing,
        f"the parameter{'s' if len(missing) > 1 else ''} {_listed(missing)} got no gradient in some optimiser steps: "
        "use it in the forward pass, or set requires_grad = False",
    )
    infinite = [name for name in learned if not abs(found.gradients[name]) < float("inf")]
    require(not infinite, f"the gradient of {_listed(infinite)} is not finite")
    zero = [name for name in learned if found.gradients[name] == 0.0]
    cut = [name for name in zero if _has_effect(found.model, candidate, name)]
    require(
        not cut,
        f"the gradient of {_listed(cut)} is zero, and the prediction depends on it: it is cut off on the way (detach, "
        "no_grad, a value that is rounded)",
    )
    idle = f"; {_listed(zero)} had no effect on these batches" if zero else ""
    return f"{len(learned) - len(zero)} of {len(learned)}{idle}"


def _has_effect(model: Module, candidate: ModelCandidate, name: str) -> bool:
    """Whether another value of a weight changes the prediction."""
    weight = model.get_parameter(name)
    before = answer(model, candidate.spec, candidate.batch, training=True)
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).to(weight))
        return off(before, answer(model, candidate.spec, candidate.batch, training=True)) > 0
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def weights_held(candidate: ModelCandidate) -> str:
    """Do the optimisers hold every weight, and move some?"""
    found = training_of(candidate)
    learned = [name for name, weight in found.model.named_parameters() if weight.requires_grad]
    if candidate.fits_itself:
        require(
            bool(found.moved) or bool(list(found.model.buffers())),
            "fit must change parameters, or buffers that are registered",
        )
        return f"its fit changed {len(found.moved)} weights, beside {len(list(found.model.buffers()))} buffers"
    absent = [name for name in learned if name not in found.held]
    require(
        not absent,
        f"no optimiser holds {_listed(absent)}: return all of self.parameters() from configure_optimizers, or set "
        "requires_grad = False",
    )
    if not found.held:
        raise NotAsked("it has no optimiser")
    require(bool(found.moved), "an optimiser step must change the parameters, and none did: is the learning rate zero?")
    return f"all {len(learned)}; {len(found.moved)} moved"


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""Whether what is minimised is a mean over rows, of what counts, and lower for better answers."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import answer, require, same
from rnnae_bench.testing.of_tasks.answers import blends, perfect
from rnnae_bench.testing.of_tasks.partitions import partitions
from rnnae_bench.testing.of_tasks.unscored import alterations
from rnnae_bench.training.loss_terms import minimised

SURE = 10.0
"""How many times as sure an answer is as a certain one."""


def loss(candidate: TaskCandidate) -> str:
    """Is the loss finite, the same again, and with a gradient?"""
    task, batch = candidate.task, candidate.batch
    before, prediction = batch.map(torch.clone), _answered(candidate, batch).requires_grad_()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        try:
            found.append(task.total_loss(prediction, batch))
        except UserError as error:
            raise AssertionError(str(error)) from error
    require(bool(found[0].isfinite()), f"the loss must be finite, not {found[0].item()}")
    require(
        torch.equal(found[0], found[1]),
        f"the loss of one prediction is {found[0].item():g}, and when it is asked for again {found[1].item():g}: it "
        "must be "
        "a function of the prediction and the batch",
    )
    require(same(before, batch), "the loss changes the batch in place; it must leave it as it is")
    (gradient,) = torch.autograd.grad(found[0], prediction)
    require(bool(gradient.isfinite().all() and gradient.any()), "the loss must have a finite gradient that is not zero")
    return f"{found[0].item():.4g} of an answer at random, and a gradient of norm {gradient.norm().item():.2g}"


def loss_of_sure_answers(candidate: TaskCandidate) -> str:
    """Is the loss finite where an answer is sure, and wrong?"""
    if not isinstance(candidate.spec.outputs, Classes):
        raise NotAsked("answers are numbers, and no chances")
    batch = candidate.batch
    wrong = (-SURE * perfect(batch.targets, _answered(candidate, batch))).requires_grad_()
    found = candidate.task.total_loss(wrong, batch)
    (gradient,) = torch.autograd.grad(found, wrong)
    require(
        bool(found.isfinite() and gradient.isfinite().all()),
        f"the loss is {found.item():g} where an answer is sure of a wrong class, and a training would end there: "
        "take the log_softmax, not the logarithm of a softmax",
    )
    return f"{found.item():.4g}, and a gradient of norm {gradient.norm().item():.2g}"


def loss_of_parts(candidate: TaskCandidate) -> str:
    """Is the loss a mean over rows, however they are dealt out to devices, and in whatever order?"""
    task, batch = candidate.task, candidate.batch
    prediction = _answered(candidate, batch)
    whole = _terms(task, prediction, batch)
    for how, parts in partitions(len(batch.targets)):
        sums = dict.fromkeys(whole, 0.0)
        for part in parts:
            for name, value in _terms(task, prediction[part], batch.rows(part)).items():
                sums[name] += len(batch.targets[part]) * value
        for name, value in whole.items():
            require(
                math.isclose(sums[name] / len(batch.targets), value, rel_tol=1e-4, abs_tol=1e-6),
                f"{name} is {value:g}, and {sums[name] / len(batch.targets):g} with the rows {how}: it must be a "
                "mean over the "
                "rows, so that devices which each see a part average to the whole",
            )
    return f"{', '.join(whole)}: the same for rows {', '.join(how for how, _ in partitions(len(batch.targets)))}"


def loss_of_what_counts(candidate: TaskCandidate) -> str:
    """Does the loss leave out padding, and steps that a mask leaves out?"""
    task, batch = candidate.task, candidate.batch
    prediction = _answered(candidate, batch)
    whole, told = task.total_loss(prediction, batch), []
    for what, (altered, other) in alterations(candidate.spec, prediction, batch).items():
        found = task.total_loss(altered, other)
        require(
            torch.allclose(found, whole, rtol=1e-4, atol=1e-6),
            f"the loss changes, from {whole.item():g} to {found.item():g}, with {what}: leave out what does not count; "
            "batch.scored(spec) tells",
        )
        told.append(what)
    return f"unchanged with {', '.join(told)}"


def loss_of_better_answers(candidate: TaskCandidate) -> str:
    """Is the loss lower for better answers, and lowest for the right one?"""
    task, batch = candidate.task, candidate.batch
    found = [
        (share, task.total_loss(blend, batch).item())
        for share, blend in blends(batch.targets, _answered(candidate, batch))
    ]
    told = ", ".join(f"{share:.0%} right {value:.4g}" for share, value in found)
    worst = max(value for _, value in found)
    for (_, one), (share, two) in pairwise(found):
        require(
            two <= one + 1e-4 * abs(worst),
            f"the loss rises where answers get better, at {share:.0%} of the way from noise to the targets: {told}",
        )
    require(found[-1][1] < found[0][1], f"the loss of the right answer is not below that of noise: {told}")
    return told


def loss_of_scored_steps(candidate: TaskCandidate) -> str:
    """Does the loss look at every step that is scored?"""
    spec, batch = candidate.spec, candidate.batch
    if spec.predicts == "last step" or isinstance(spec.outputs, Images):
        raise NotAsked("there is one answer a row")
    prediction = _answered(candidate, batch).requires_grad_()
    (gradient,) = torch.autograd.grad(candidate.task.total_loss(prediction, batch), prediction)
    scored = batch.scored(spec)
    moved = gradient.ne(0).any(2) & scored
    for step in scored.any(0).nonzero()[:, 0].tolist():
        require(
            bool(moved[:, step].any()),
            f"step {step} is scored, and the loss does not look at it: its gradient there is 0 in all {len(scored)} "
            "rows",
        )
    return f"a gradient at {moved.sum().item() / scored.sum().item():.0%} of {int(scored.sum())} scored steps"


def _answered(candidate: TaskCandidate, batch: Batch) -> Tensor:
    return answer(candidate.spec, batch.inputs, batch.targets)


def _terms(task: Task, prediction: Tensor, batch: Batch) -> dict[str, float]:
    """The loss and each of its terms, by what a message calls them."""
    total, terms = minimised(task.loss(prediction, batch), task.loss_source)
    return {"the loss": total.item(), **{f"the loss' term '{name}'": term.item() for name, term in terms.items()}}

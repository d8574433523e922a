"""What a model says of its states, and what of them passes from batch to batch."""

from copy import deepcopy

import torch

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.model import Autoencoder, SequenceModel
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.stepping import parts_of
from rnnae_bench.probes.conformance import objection_to_state_size, objection_to_step, objection_to_watched
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require, require_none
from rnnae_bench.testing.of_models.asking import TOLERANCE, off
from rnnae_bench.testing.of_models.training import training_of


def forms(candidate: ModelCandidate) -> str:
    """Where it has `states` and a `step`: do the two agree, outputs and gradients?"""
    model = candidate.build()
    if not (isinstance(model, SequenceModel) and model.has_states and model.has_step):
        raise NotAsked("it has one form only")
    require_none(objection_to_step(model))
    return "outputs and gradients of inputs and weights, in double precision"


def state_size(candidate: ModelCandidate) -> str:
    """Is the declared state size that of the state, or of the code?"""
    model = candidate.build().eval()
    if isinstance(model, Autoencoder):
        stated = model.state_size
        rows = candidate.batch.rows(slice(0, 2))
        with torch.no_grad():
            code = model.code(rows.inputs, rows.lengths)
        size = code[0].numel() * (2 if code.is_complex() else 1)
        if stated is None:
            raise NotAsked(f"it is not declared; its code has {size} numbers")
        require(
            stated == size, f"{type(model).__name__}.state_size is {stated}, and its code of a row has {size} numbers"
        )
        return f"{stated}, that of the code"
    if not isinstance(model, SequenceModel) or not (model.has_step or model.resumes):
        raise NotAsked("only a step or a code shows how large it is")
    if model.state_size is None:
        raise NotAsked("it is not declared")
    if model.has_step:
        require_none(objection_to_state_size(model))
        return f"{model.state_size}, that of what step hands on"
    handed_on = _size_of_state(model)
    require(
        model.state_size == handed_on,
        f"{type(model).__name__}.state_size is {model.state_size}, and {type(model).__name__}.resume hands {handed_on} "
        "numbers on (a complex number counts twice)",
    )
    return f"{model.state_size}, that of what resume hands on"


def _size_of_state(model: SequenceModel) -> int | Growing:
    """Numbers of a row that are handed on by `resume`, or what a step adds to them."""
    sizes = []
    with torch.no_grad():
        for steps in (2, 3):
            state = model.resume(torch.zeros(2, steps, model.embedding.features))[1]
            parts = [part for _, part in parts_of(state) if part.is_floating_point() or part.is_complex()]
            sizes.append(sum(part.numel() * (1 + part.is_complex()) for part in parts) // 2)
    return sizes[0] if sizes[0] == sizes[1] else Growing(sizes[1] - sizes[0])


def resumption(candidate: ModelCandidate) -> str:
    """Where it resumes from a state: does a sequence in two parts come to the same as in one?"""
    model = candidate.build().eval()
    if not isinstance(model, SequenceModel) or not model.resumes:
        raise NotAsked("it gives no state to go on from")
    with torch.no_grad():
        inputs = model.embedding(candidate.batch.inputs)
        cut = inputs.shape[1] // 2
        if not cut:
            raise NotAsked("a sequence has one step")
        whole = model.states(inputs)
        first, state = model.resume(inputs[:, :cut])
        second, _ = model.resume(inputs[:, cut:], state)
    different = off(whole, torch.cat((first, second), dim=1))
    require(
        different <= TOLERANCE,
        f"{type(model).__name__}.resume in two parts differs from states by {different:.2g} of the largest value: hand "
        "all of the state on",
    )
    return f"cut at step {cut} of {inputs.shape[1]}; differs by {different:.1g}"


def watched(candidate: ModelCandidate) -> str:
    """Can a profile read every state that it shows by `watch`?"""
    found = training_of(candidate)
    objection = objection_to_watched(deepcopy(found.model), candidate.task, candidate.batch, found.shown)
    require_none(objection)
    return ", ".join(found.shown) or "it shows none"


def carry_over(candidate: ModelCandidate) -> str:
    """Is a state carried from one training batch to the next only where these continue, and then rightly?"""
    spec, batch = candidate.spec, candidate.batch
    following = candidate.task.train_batch(1)
    if following.inputs.shape != batch.inputs.shape:
        following = _cut_alike(batch, following)
        batch = _cut_alike(following, batch)
    fresh = _trains_on(candidate, following)
    after = _trains_on(candidate, batch, following)
    different = off(fresh, after)
    if not spec.continues:
        require(
            different <= TOLERANCE,
            "a training batch's prediction changes with the batch before it, by "
            f"{different:.2g} of the largest value, and the task's batches do not continue each other: start from the "
            "initial state",
        )
        return f"none is carried: differs by {different:.1g}"
    if different <= TOLERANCE:
        return "batches continue each other, and none is carried"
    whole = batch._replace(
        inputs=torch.cat((batch.inputs, following.inputs), dim=1),
        targets=torch.cat((batch.targets, following.targets), dim=1),
        lengths=None,
        mask=None,
    )
    at_once = _trains_on(candidate, whole)[:, batch.inputs.shape[1] :]
    apart = off(at_once, after)
    require(
        apart <= TOLERANCE,
        "the state that is carried to the next training batch is not that after the one before: in two batches the "
        f"predictions differ from those of both in one by {apart:.2g} of the largest value",
    )
    return f"carried: two batches are as one, and differ by {apart:.1g}"


def _trains_on(candidate: ModelCandidate, *batches: Batch) -> torch.Tensor:
    """The training prediction of the last of some batches, with the first weights and buffers all the time."""
    model = candidate.build().train()
    first = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for batch in batches[:-1]:
        torch.manual_seed(0)
        _training(model, candidate, batch)
        if first.keys() == model.state_dict().keys():
            model.load_state_dict(first)
    torch.manual_seed(0)
    return _training(model, candidate, batches[-1])


def _training(model: torch.nn.Module, candidate: ModelCandidate, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return training_prediction(model, batch, candidate.spec)


def _cut_alike(like: Batch, batch: Batch) -> Batch:
    """A batch with no more steps than another, where sequences are padded to different lengths."""
    steps = min(like.inputs.shape[1], batch.inputs.shape[1])
    lengths = None if batch.lengths is None else batch.lengths.clamp(max=steps)
    return batch._replace(inputs=batch.inputs[:, :steps], lengths=lengths)


def evaluation_between(candidate: ModelCandidate) -> str:
    """Is the state that training carries on left as it was by an evaluation in between?"""
    spec, batch, following = candidate.spec, candidate.batch, candidate.task.train_batch(1)
    if not spec.continues:
        raise NotAsked("batches do not continue each other")
    alone = _trains_on(candidate, batch, following)
    model = candidate.build().train()
    torch.manual_seed(0)
    _training(model, candidate, batch)
    model.eval()
    held_out = candidate.task.held_out(len(batch.targets))
    with torch.no_grad():
        model(held_out.inputs, held_out.lengths)
    model.train()
    torch.manual_seed(0)
    different = off(alone, _training(model, candidate, following))
    require(
        different <= TOLERANCE,
        "an evaluation between two training batches changes the state that is carried from one to the other, by "
        f"{different:.2g} of the largest prediction: keep the state of training apart",
    )
    return f"differs by {different:.1g}"

"""What a model answers: its shape, and what an answer may depend on."""

import torch

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
from rnnae_bench.contracts.spec import Classes, Images
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import prediction_shape, require
from rnnae_bench.testing.of_models.asking import TOLERANCE, altered_at, answer, in_mode, off, rows_repeated
from rnnae_bench.testing.of_models.training import training_of

CUTS = 48
"""Places at which a sequence is cut, where it has more."""


def prediction(candidate: ModelCandidate) -> str:
    """Has the prediction the shape that the spec asks for, and is it finite?"""
    spec, batch = candidate.spec, candidate.batch
    found = answer(candidate.build(), spec, batch)
    shape = prediction_shape(spec, batch.inputs)
    require(found.shape == shape, f"the prediction must be {shape}, and is {tuple(found.shape)}")
    require(bool(found.isfinite().all()), "the prediction must be finite")
    return f"{tuple(found.shape)}, between {found.min():.3g} and {found.max():.3g}"


def repetition(candidate: ModelCandidate) -> str:
    """Is an answer in evaluation the same when it is asked again, after another batch?"""
    model = candidate.build().eval()
    batch, other = candidate.batch, candidate.task.train_batch(1)
    with torch.no_grad():
        torch.manual_seed(0)
        first = model(batch.inputs, batch.lengths)
        model(other.inputs, other.lengths)
        torch.manual_seed(1)
        again = model(batch.inputs, batch.lengths)
    different = off(first, again)
    require(
        different <= TOLERANCE,
        f"asked again, after another batch, the prediction differs by {different:.2g} of its largest value: in "
        "evaluation mode carry no state from batch to batch, and draw no random numbers",
    )
    return f"differs by {different:.1g}"


def rows_alone(candidate: ModelCandidate) -> str:
    """Does a row's answer depend on that row alone, and not on its neighbours in the batch?"""
    model, spec = training_of(candidate).model, candidate.spec
    batch = candidate.batch.rows(slice(0, 16))
    count = len(batch.targets)
    if count < 3:
        raise NotAsked(f"a batch has {count} rows")
    whole, worst = answer(model, spec, batch), 0.0
    for parity in (0, 1):
        kept = torch.arange(count) % 2 == parity
        others = torch.arange(count)[~kept]
        places = torch.arange(count)
        places[~kept] = torch.arange(count)[kept][torch.arange(len(others)) % int(kept.sum())]
        different = off(whole[kept], answer(model, spec, batch.rows(places))[kept])
        require(
            different <= TOLERANCE,
            "a row's prediction changes with the other rows of its batch, by "
            f"{different:.2g} of the largest value: does a recurrence run along the batch (batch_first=True is "
            "missing), or are rows normalised together?",
        )
        worst = max(worst, different)
    return f"{count} rows; with other neighbours they differ by {worst:.1g}"


def evaluation_batches(candidate: ModelCandidate) -> str:
    """Is the evaluation the same for any batch size and order, a last batch of one row included?"""
    model, spec = training_of(candidate).model, candidate.spec
    batch = candidate.batch.rows(slice(0, 8))
    count, worst = len(batch.targets), 0.0
    whole = answer(model, spec, batch)
    order = torch.arange(count).flip(0)
    parts = {
        "in another order": order,
        "as the one row of a last batch": torch.tensor([count - 1]),
        "in a batch of three": torch.arange(min(3, count)),
    }
    for how, rows in parts.items():
        try:
            found = answer(model, spec, batch.rows(rows))
        except Exception as error:
            raise AssertionError(f"rows {how} fail: {type(error).__name__}: {error}") from error
        different = off(whole[rows], found)
        require(
            found.shape == whole[rows].shape,
            f"rows {how} have a prediction {tuple(found.shape)}, and must have {tuple(whole[rows].shape)}: keep the "
            "batch axis (squeeze drops it)",
        )
        require(
            different <= TOLERANCE,
            f"rows {how} have another prediction, by {different:.2g} of the largest value: it must depend on neither "
            "the number of rows nor a row's place",
        )
        worst = max(worst, different)
    return f"batches of {count}, 3 and 1, and in reverse; they differ by {worst:.1g}"


def causality(candidate: ModelCandidate) -> str:
    """Where the task is causal: is a prediction free of all inputs after it, at every cut, also in training?"""
    spec = candidate.spec
    if not spec.causal or spec.predicts != "every step" or isinstance(spec.inputs, Images):
        raise NotAsked("the task does not hide the future" if not spec.causal else f"it predicts {spec.predicts}")
    steps = candidate.batch.inputs.shape[1]
    cuts = sorted({*range(1, min(steps, 9)), *torch.linspace(1, steps - 1, CUTS).long().tolist(), steps - 1} - {0})
    if not cuts:
        raise NotAsked("a sequence has one step")
    rows = rows_repeated(candidate.batch, len(cuts))
    after = torch.arange(steps) >= torch.tensor(cuts)[:, None]
    altered = rows._replace(inputs=altered_at(spec, rows.inputs, after))
    worst, models = 0.0, {"before": candidate.build(), "after": training_of(candidate).model}
    for when, model in models.items():
        for training in (False, True):
            one, two = (answer(model, spec, batch, training) for batch in (rows, altered))
            for row, cut in enumerate(cuts):
                different = off(one[row, :cut], two[row, :cut])
                worst = max(worst, different)
                mode = "training" if training else "evaluation"
                require(
                    different <= TOLERANCE,
                    f"the task is causal, and a prediction changes with the inputs after it: those of the steps before "
                    f"{cut} with the inputs from {cut} on, by {different:.2g} of the largest value, in {mode} mode "
                    f"{when} some training",
                )
    return f"{len(cuts)} cuts of {steps} steps, in both modes, before and after some training; differ by {worst:.1g}"


def padding(candidate: ModelCandidate) -> str:
    """Where lengths vary: does neither what the padding holds nor how much of it there is change a prediction?"""
    spec, batch = candidate.spec, candidate.batch
    if batch.lengths is None:
        raise NotAsked("all sequences have one length")
    model = training_of(candidate).model
    longest = batch.inputs.shape[1]
    half = batch.lengths.sort().indices[: max(1, len(batch.lengths) // 2)]
    rows = batch.rows(half)
    assert rows.lengths is not None
    least = int(rows.lengths.max())
    step = torch.arange(longest)
    real = step < rows.lengths[:, None]
    worst = 0.0
    for training in (False, True):
        before = answer(model, spec, _padded_to(rows, least), training)
        for extent in sorted({min(least + 1, longest), longest}):
            junk = rows._replace(inputs=altered_at(spec, rows.inputs, ~real))
            for what, one in (("how much padding there is", rows), ("what the padding holds", junk)):
                found = answer(model, spec, _padded_to(one, extent), training)
                if spec.predicts == "every step":
                    found = torch.where(real[:, :least, None], found[:, :least], 0.0)
                    before = torch.where(real[:, :least, None], before, 0.0)
                different = off(found, before)
                worst = max(worst, different)
                require(
                    different <= TOLERANCE,
                    f"a prediction changes with the padding: with {what}, by {different:.2g} of the largest value "
                    f"({extent - least} steps more than the longest of {len(half)} rows): read each row to its length",
                )
    return f"{len(half)} rows with up to {longest - int(rows.lengths.min())} steps of padding; differ by {worst:.1g}"


def _padded_to(rows: Batch, extent: int) -> Batch:
    """The same rows with so many steps."""
    return rows._replace(inputs=rows.inputs[:, :extent])


def teacher_forcing(candidate: ModelCandidate) -> str:
    """Of outputs of their own length: is a step in training free of its own target and of later ones?"""
    spec, batch = candidate.spec, candidate.batch
    if spec.predicts != "own length":
        raise NotAsked("outputs have the steps of the inputs")
    model, targets = training_of(candidate).model, batch.targets

    def forced(targets: torch.Tensor) -> torch.Tensor:
        with in_mode(model, False), torch.no_grad():
            torch.manual_seed(0)
            try:
                return training_prediction(model, batch._replace(targets=targets), spec)
            except TypeError as error:
                raise AssertionError(f"forward must take targets, to be trained on: {error}") from error

    found, shape = forced(targets), prediction_shape(spec, batch.inputs, targets)
    require(
        found.shape == shape,
        f"forward must predict the {shape[1]} steps of the targets that it is given, {shape}, and gives "
        f"{tuple(found.shape)}",
    )
    other = (targets + 1) % spec.outputs.count if isinstance(spec.outputs, Classes) else targets + 1
    steps, worst = targets.shape[1], 0.0
    for cut in range(steps):
        later = torch.arange(steps).view(1, -1, *[1] * (targets.dim() - 2)) >= cut
        different = off(found[:, : cut + 1], forced(torch.where(later, other, targets))[:, : cut + 1])
        worst = max(worst, different)
        require(
            different <= TOLERANCE,
            "a step of the training prediction changes with its own target or a later one: feed it with those before "
            f"(steps to {cut} with the targets from {cut} on, by {different:.2g} of the largest value)",
        )
    return f"{steps} steps; differ by {worst:.1g}"


def free_running(candidate: ModelCandidate) -> str:
    """Of an encoder and decoder: does it come to the same step by step as in one call?"""
    model, spec, batch = training_of(candidate).model, candidate.spec, candidate.batch
    if not isinstance(model, EncoderDecoder):
        raise NotAsked("it is no EncoderDecoder")
    free = answer(model, spec, batch)
    targets = free.argmax(-1) if isinstance(spec.outputs, Classes) else free
    with in_mode(model, False), torch.no_grad():
        again = training_prediction(model, batch._replace(targets=targets), spec)
    different = off(free, again)
    require(
        different <= 10 * TOLERANCE,
        f"{type(model).__name__}.decode must give the same step by step as in one call, and differs by "
        f"{different:.2g} of the largest value: hand its state on",
    )
    return f"differs by {different:.1g}"

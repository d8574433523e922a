"""Whether a task's batches are what its spec promises to models, at many steps and in every set."""

from collections.abc import Iterator

import torch
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images, Static, Tokens, Values
from rnnae_bench.testing.batch_exam import check_inputs, check_lengths, check_steps, check_targets, counted
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import prediction_shape, real_steps, require

RARE = 10
"""What is seen less often may be missed by chance."""
_SPLITS = ("validation", "test")


def _all(candidate: TaskCandidate) -> Iterator[tuple[str, Batch, bool]]:
    """Batches of the training, and all sets: what each is, and whether it may be longer than the spec says."""
    for step, batch in candidate.batches.items():
        yield f"the training batch of step {step}", batch, False
    for name in candidate.task.all_sets:
        # A stream is read in pieces in training, and at evaluation in one go, with all that a state carries over.
        yield f"the set '{name}'", candidate.rows(name), name not in _SPLITS or candidate.spec.continues


def _count(candidate: TaskCandidate) -> str:
    return f"{len(candidate.batches)} batches up to step {candidate.last_step}, and {len(candidate.task.all_sets)} sets"


def inputs(candidate: TaskCandidate) -> str:
    """Do the inputs have the shape, type and range that the spec promises?"""
    for what, batch, any_length in _all(candidate):
        check_inputs(candidate.spec, batch, what, any_length)
    return f"{_count(candidate)}: {candidate.spec.inputs}"


def lengths(candidate: TaskCandidate) -> str:
    """Are there lengths where sequences differ, do they, and does the longest come near the declared one?"""
    spec, found = candidate.spec, []
    for what, batch, _ in _all(candidate):
        check_lengths(spec, batch, what)
    for own, declared, field in (
        (spec.variable_length, None if isinstance(spec.inputs, Static) else spec.sequence.length, "lengths"),
        (spec.output_length is not None, spec.output_length, "target_lengths"),
    ):
        if not own or declared is None:
            continue
        ends = torch.cat([getattr(batch, field) for _, batch, _ in _all(candidate)])
        longest, shortest = int(ends.max()), int(ends.min())
        if field == "lengths":
            require(
                longest > shortest,
                f"the spec says that lengths vary, and all of {len(ends):,} rows have {longest} steps: leave "
                "variable_length and lengths out",
            )
        require(
            2 * longest >= declared,
            f"the spec says that the longest has {declared} steps, and the longest of {len(ends):,} rows has {longest} "
            f"by its {field}",
        )
        found.append(f"{field} {shortest} to {longest} of {declared}, {len(ends):,} rows")
    if not found:
        raise NotAsked(f"all sequences are as long as the spec says, in {_count(candidate)}")
    return "; ".join(found)


def masks(candidate: TaskCandidate) -> str:
    """Do masks and scored steps fit what is predicted, and leave every row something to score?"""
    spec = candidate.spec
    for what, batch, _ in _all(candidate):
        check_steps(spec, batch, what)
    if spec.predicts == "last step":
        return f"{_count(candidate)}: one prediction a row, and no mask"
    scored = candidate.batch.scored(spec).sum(1)
    return f"{_count(candidate)}: {int(scored.min())} to {int(scored.max())} steps scored a row in training"


def targets(candidate: TaskCandidate) -> str:
    """Do the training targets fit a prediction: class numbers, or what is predicted itself?"""
    for step, batch in candidate.batches.items():
        check_targets(candidate.spec, batch, f"the training batch of step {step}")
    return f"{len(candidate.batches)} batches up to step {candidate.last_step}: {candidate.spec.outputs}"


def held_out(candidate: TaskCandidate) -> str:
    """Can the loss take the validation rows on which gradients are read?"""
    rows, wanted = 8, min(8, len(candidate.rows("validation").targets))
    batch = candidate.task.held_out(rows)
    require(
        len(batch.inputs) == len(batch.targets) == wanted,
        f"held_out({rows}) must give {wanted} rows, not {len(batch.inputs)}",
    )
    try:
        check_targets(candidate.spec, batch, f"held_out({rows})")
    except AssertionError as error:
        raise AssertionError(
            f"{error}; where targets of the validation set have another form than in training, override held_out"
        ) from error
    return f"{wanted} rows, with targets as in training"


def symbols(candidate: TaskCandidate) -> str:
    """Is every declared symbol and class in use, and none asked for that was never trained?"""
    spec, found = candidate.spec, []
    if isinstance(spec.inputs, Tokens):
        seen = torch.cat([batch.inputs[real_steps(batch)] for _, batch, _ in _all(candidate)])
        named = candidate.task.input_names is not None
        found.append(_used("input symbols", seen.bincount(minlength=spec.inputs.vocabulary), named))
    if isinstance(spec.outputs, Classes):
        trained = torch.cat([_labels(candidate, batch) for batch in candidate.batches.values()])
        counts = trained.bincount(minlength=spec.outputs.count)
        asked = {name: candidate.rows(name) for name in candidate.task.evaluation_sets}
        alike = {
            name: _labels(candidate, batch) for name, batch in asked.items() if _is_as_in_training(candidate, batch)
        }
        for name, labels in alike.items():
            often = labels.bincount(minlength=spec.outputs.count)
            missed = [(label, int(often[label])) for label in range(spec.outputs.count) if not counts[label]]
            for label, times in missed:
                require(
                    times < RARE,
                    f"the set '{name}' asks for class {label} {times} times, and {len(trained):,} training targets "
                    "never do",
                )
        if isinstance(spec.inputs, Tokens) and spec.inputs.vocabulary == spec.outputs.count:
            found.append("classes are the input's symbols")
        else:
            every = torch.cat([trained, *alike.values()]).bincount(minlength=spec.outputs.count)
            found.append(_used("classes", every, candidate.task.output_names is not None))
    if not found:
        raise NotAsked("there are neither symbols nor classes")
    return "; ".join(found)


def _is_as_in_training(candidate: TaskCandidate, batch: Batch) -> bool:
    shape = prediction_shape(candidate.spec, batch.inputs, batch.targets)
    return tuple(batch.targets.shape) == shape[:-1] and not batch.targets.is_floating_point()


def _labels(candidate: TaskCandidate, batch: Batch) -> Tensor:
    """The classes of a batch, at steps that count."""
    return batch.targets[counted(candidate.spec, batch)] if batch.targets.dim() == 2 else batch.targets


def _used(what: str, counts: Tensor, named: bool) -> str:
    """Raise where symbols or classes never occur, unless the rarest are rare, or they have names: of an alphabet."""
    unused = (counts == 0).nonzero()[:, 0].tolist()
    rarest = int(counts[counts > 0].min())
    require(
        not unused or rarest < RARE or named,
        f"the spec declares {len(counts)} {what}, and {unused} never occurs among {int(counts.sum()):,}, though each "
        "of the "
        f"others does {rarest} times or more: a model has weights for what there is not",
    )
    left = f" ({unused} never, and they have names)" if unused and named else ""
    return (
        f"{len(counts) - len(unused)} of {len(counts)} {what} in {int(counts.sum()):,}, the rarest {rarest} times{left}"
    )


def mixed_classes(candidate: TaskCandidate) -> str:
    """Does a training batch hold different classes, and not those of one place in a sorted list?"""
    spec, batches = candidate.spec, candidate.batches
    if spec.predicts != "last step" or not isinstance(spec.outputs, Classes):
        raise NotAsked("rows have no class each")
    labels = torch.stack([batch.targets for batch in batches.values()])
    shuffled = labels.flatten()[torch.randperm(labels.numel(), generator=torch.Generator().manual_seed(0))]
    found, wanted = (sum(len(row.unique()) for row in rows) / len(rows) for rows in (labels, shuffled.view_as(labels)))
    told = f"{found:.1f} classes in a batch of {labels.shape[1]}, and {wanted:.1f} where rows come in random order"
    require(found >= (1 + wanted) / 2, f"{told}: shuffle the rows, self.shuffled(step, size) say")
    return told


def continuing(candidate: TaskCandidate) -> str:
    """Does each row of a batch go on where the same row of the batch before ended?"""
    spec, batches = candidate.spec, candidate.batches
    if not spec.continues:
        raise NotAsked("the spec does not say that batches continue each other")
    pairs = [(batches[step], batches[step + 1]) for step in batches if step + 1 in batches]
    first = pairs[0][0]
    if not _targets_are_inputs_after(candidate, first):
        raise NotAsked("can't be seen: targets are not the inputs that follow")
    ends = torch.stack(
        [(one.targets if spec.predicts == "last step" else one.targets[:, -1]).float() for one, _ in pairs]
    )
    begins = torch.stack([two.inputs[:, 0].float() for _, two in pairs])
    goes_on = (ends.flatten(2) == begins.flatten(2)).all(2) if ends.dim() > 2 else ends == begins
    share = goes_on.float().mean().item()
    require(
        share >= 0.8,
        f"the spec says that batches continue each other, and of {goes_on.numel():,} rows only {share:.0%} begin "
        "with what "
        "the same row of the batch before was to foretell last",
    )
    return f"{goes_on.numel():,} rows: {share:.1%} begin with what the same row foretold last"


def _targets_are_inputs_after(candidate: TaskCandidate, batch: Batch) -> bool:
    """Whether what a row is to foretell is its own next input."""
    spec = candidate.spec
    if isinstance(spec.inputs, Images | Static) or spec.predicts == "own length":
        return False
    if spec.predicts == "every step":
        return batch.targets[:, :-1].shape == batch.inputs[:, 1:].shape and torch.equal(
            batch.targets[:, :-1].float(), batch.inputs[:, 1:].float()
        )
    if not isinstance(spec.outputs, Values) or batch.targets.shape[1:] != batch.inputs.shape[2:]:
        return False
    # After the last step: what one row is to foretell, another begins with.
    pool = candidate.pool
    return bool(torch.isin(pool.targets, pool.inputs).float().mean() > 0.5)


def padding(candidate: TaskCandidate) -> str:
    """Is what sequences are padded with the same everywhere, so that it tells nothing?"""
    if not candidate.spec.variable_length:
        raise NotAsked("no sequence is padded")
    found = [(what, batch.inputs[~real_steps(batch)]) for what, batch, _ in _all(candidate)]
    padded = [(what, values) for what, values in found if len(values)]
    if not padded:
        raise NotAsked("no sequence is shorter than its batch")
    first = padded[0][1][0]
    for what, values in padded:
        require(
            bool((values == first).all()),
            f"{what} is padded with different values; what stands in padding must be the same everywhere, or it may "
            "tell the target",
        )
    return f"{sum(len(values) for _, values in padded):,} padded steps: all are {first.tolist()}"

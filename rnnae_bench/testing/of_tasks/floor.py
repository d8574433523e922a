"""Whether what needs no network stays at the floor that the card claims for it."""

import math
from collections.abc import Iterable

import torch

from rnnae_bench.contracts.spec import Images
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_tasks.trivial import ROWS, Trivial, constants, copies, linear, one_place

TEST_ROWS = 500
"""That trivial answers are scored on, at most."""
PIXELS = 4096
"""Of an image, to fit a map of all of them."""
STRONGEST = "the floor is the strongest answer that needs no network"


def margin(rows: int) -> float:
    """How far above the floor chance may lift an answer, as a score."""
    return 0.05 + 1.5 / math.sqrt(rows)


def _require_weak(candidate: TaskCandidate, answers: Iterable[Trivial], remedy: str) -> str:
    """Raise where one is far above the floor, and no baseline of the card is as good; tells what they score."""
    variant, batch = candidate.variant, candidate.few("test", TEST_ROWS)
    primary, scale, allowed = variant.primary, variant.scale, margin(len(batch.targets))
    declared = {
        name: scale.score(baseline.values[primary.metric])
        for name, baseline in variant.baselines.items()
        if primary.metric in baseline.values
    }
    best, as_good = max(declared.values(), default=0.0), max(declared, key=declared.__getitem__, default="")
    told, before = [], None
    for answer in answers:
        with torch.no_grad():
            prediction = candidate.task.predict(answer, batch)
        if before is not None and torch.equal(prediction, before):  # of which a task may make the same
            continue
        before, value = prediction, candidate.primary(prediction, batch)
        score = scale.score(value)
        require(
            not score > allowed or best >= score - allowed,
            f"{answer.name}, as an answer, has a {primary.metric} of {value:.4g} on {len(batch.targets)} rows of the "
            "test "
            f"set: {score:.0%} of the way from the floor ({scale.floor:g}) to the ceiling ({scale.ceiling:g}), and no "
            f"baseline of the card tells of it; {remedy}",
        )
        told.append(f"{answer.name} {value:.4g}" + (f" (the card's {as_good} is as good)" if score > allowed else ""))
    if not told:
        raise NotAsked("no such answer has the form of a prediction here")
    return f"{primary.metric}, floor {scale.floor:g}: " + ", ".join(told)


def constant_answer(candidate: TaskCandidate) -> str:
    """Does an answer that looks at nothing stay at the floor?"""
    answers = constants(candidate.spec, candidate.pool)
    return _require_weak(candidate, answers, STRONGEST)


def copied_input(candidate: TaskCandidate) -> str:
    """Does giving the input back stay at the floor?"""
    _require_no_code(candidate)
    return _require_weak(candidate, copies(candidate.spec), STRONGEST)


def target_in_the_input(candidate: TaskCandidate) -> str:
    """Does no one place of the input tell the target?"""
    _require_no_code(candidate)
    _require_no_transcript(candidate)
    answer = one_place(candidate.spec, candidate.pool)
    return _require_weak(
        candidate, [answer], "either the input holds the target, or the floor is to be a baseline that looks there"
    )


def linear_answer(candidate: TaskCandidate) -> str:
    """Does a linear map of the input stay at the floor?"""
    _require_no_code(candidate)
    _require_no_transcript(candidate)
    spec, lag = candidate.spec, candidate.variant.needed_lag
    if isinstance(spec.outputs, Images) and candidate.batch.inputs[0].numel() > PIXELS:
        raise NotAsked(f"images of more than {PIXELS} numbers are too large to fit a map of all of them")
    # What is to be remembered may be read off in a line by whoever has all of it before him.
    within = lag if spec.predicts == "last step" and spec.causal else None
    answer = linear(spec, candidate.pool.rows(slice(0, ROWS)), within)
    return _require_weak(
        candidate, [answer], "either the input holds the target, or the floor is to be such a baseline"
    )


def _require_no_code(candidate: TaskCandidate) -> None:
    limit = candidate.spec.code_limit
    if limit is not None:
        raise NotAsked(f"all must go through a code of {limit} numbers; the input is the target")


def _require_no_transcript(candidate: TaskCandidate) -> None:
    if candidate.spec.predicts == "own length":
        raise NotAsked("the output is written after all was read, of which it may be a transcript")

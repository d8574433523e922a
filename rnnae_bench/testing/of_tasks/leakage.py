"""Whether what models are scored on is kept from what they are trained on."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.testing.candidates import CONSECUTIVE, TaskCandidate
from rnnae_bench.testing.forms import require

NUMBERS = 4_000_000
"""Of inputs, that are read of the training."""
ROWS = 20_000
"""Of the training, that are all read."""
ROWS_FOR_EACH = 20
"""Training rows that are read for each evaluation row."""
SYMBOLS = 64
"""Different numbers that inputs may have and be symbols still, so that rows may be alike by chance."""
LONG = 8
"""Real numbers of a target that no two rows have alike by chance."""
WINDOWS = 0.01
"""Share of the training rows that may stand within longer evaluation rows; a phrase may come twice in a text."""


def _keys(tensor: Tensor, lengths: Tensor | None = None) -> Iterator[bytes]:
    """What tells each row from any other: its numbers, without padding."""
    rows = tensor.contiguous().numpy()
    ends = itertools.repeat(None) if lengths is None else lengths.tolist()
    return (row[:end].tobytes() for row, end in zip(rows, ends, strict=False))


def _inputs(batch: Batch) -> list[bytes]:
    return [*_keys(batch.inputs, batch.lengths)]


def _answers(batch: Batch, like: Batch) -> list[bytes]:
    """The rows' targets, where they are as many real numbers as those of another batch, enough to tell rows apart."""
    targets = batch.targets
    if not targets.is_floating_point() or targets[0].numel() < LONG or targets.shape[1:] != like.targets.shape[1:]:
        return []
    varied = targets.flatten(1).std(1) > 0
    return [*_keys(targets[varied])]


@dataclass(frozen=True)
class Training:
    """Rows of the training that were read.

    Args:
        inputs: What tells their inputs apart; of the first steps, one after the other, and of the last.
        answers: What tells their targets apart, where these do.
        rows: How many were read.
        steps: Of the training, that they come from.
        coincidence: The chance that two rows, drawn as those of training are, have the same input; 0 where rows come
            from a finite set, each once before any comes again.
    """

    inputs: frozenset[bytes]
    answers: frozenset[bytes]
    rows: int
    steps: int
    coincidence: float

    def allowed(self, pairs: float | int) -> int:
        """Of so many pairs of rows, how many may be alike by chance."""
        expected = pairs * self.coincidence
        return math.floor(expected + 3 * math.sqrt(expected) + 1) if expected else 0

    def by_chance(self, allowed: int) -> str:
        """What is said of rows that may be alike by chance."""
        return f" (by chance up to {allowed:,}, as training rows are alike)" if allowed else ""


def training(candidate: TaskCandidate) -> Training:
    """The training's rows: from its begin, as far as need be, and of its last steps."""
    task = candidate.task
    scored = sum(len(candidate.rows(name).targets) for name in task.evaluation_sets)
    every = (candidate.last_step + 1) * len(candidate.batch.targets)
    most = min(max(ROWS_FOR_EACH * scored, min(every, ROWS)), NUMBERS // max(1, candidate.batch.inputs[0].numel()))
    inputs: list[bytes] = []
    answers: set[bytes] = set()
    step, seen, epoch = 0, set[bytes](), 0
    while len(inputs) < most and not (epoch and len(inputs) > 2 * epoch and step >= CONSECUTIVE):
        batch = task.train_batch(step)
        for key in _inputs(batch):
            if not epoch and key in seen:
                epoch = len(inputs)
            seen.add(key)
            inputs.append(key)
        answers.update(_answers(batch, candidate.batch))
        step += 1
    size, values = len(candidate.batch.targets), candidate.batch.inputs
    again = inputs[epoch : 2 * epoch]
    # A set that is gone through in epochs, or windows on fixed series: no row of it can be drawn by chance.
    # Where the last rows of an epoch do not fill a batch, they may be left out of it.
    most_left_out = size if epoch >= 4 * size else 0
    is_finite = bool(epoch) and len(seen) <= epoch + most_left_out and len({*again}) == len(again)
    is_finite |= values.is_floating_point() and len(values.unique()) > SYMBOLS
    alike = sum(count * (count - 1) for count in Counter(inputs).values())
    coincidence = 0.0 if is_finite else alike / max(1, len(inputs) * (len(inputs) - 1))
    late = [one for one in candidate.batches if one >= step]
    for one in late:
        seen.update(_inputs(candidate.batches[one]))
        answers.update(_answers(candidate.batches[one], candidate.batch))
    rows = len(inputs) + size * len(late)
    return Training(frozenset(seen), frozenset(answers), rows, step + len(late), coincidence)


def _scored(candidate: TaskCandidate, name: str) -> Batch:
    """The rows of an evaluation set that are scored."""
    batch, chosen = candidate.rows(name), candidate.task.scored_rows(name)
    return batch if chosen is None else batch.rows(chosen)


def training_rows_in_sets(candidate: TaskCandidate) -> str:
    """Is no row that is scored among those that are trained on?"""
    read, told, found = candidate.once(training), [], {}
    for name in candidate.task.evaluation_sets:
        batch = _scored(candidate, name)
        keys = _inputs(batch)
        found[name] = sum(key in read.inputs for key in keys)
        allowed = min(len(keys), read.allowed(len(keys) * read.rows))
        require(
            found[name] <= allowed,
            f"{found[name]:,} of the {len(keys):,} rows of the set '{name}' are among {read.rows:,} rows of the "
            "training "
            f"(up to {read.steps:,} steps of it){read.by_chance(allowed)}; a model is scored on rows that it was not "
            "shown",
        )
        answers = _answers(batch, candidate.batch)
        known = sum(key in read.answers for key in answers)
        require(
            not known,
            f"{known:,} of the {len(keys):,} rows of the set '{name}' have a target that a training row has too: the "
            "same "
            "row stands in two parts, its input altered",
        )
        within = _within(candidate, name, read)
        require(
            within <= WINDOWS,
            f"{within:.0%} of {len(read.inputs):,} training rows stand, as they are, within a longer row of the set "
            f"'{name}': cut the data before rows are taken",
        )
        told.append(f"{found[name]:,} of {name}'s {len(keys):,}{read.by_chance(allowed)}")
    return f"{read.rows:,} training rows, {read.steps:,} steps: {', '.join(told)}"


def _within(candidate: TaskCandidate, name: str, read: Training) -> float:
    """Of training rows that continue each other, the share that stands within longer evaluation rows."""
    inputs, steps = candidate.rows(name).inputs, candidate.batch.inputs.shape[1]
    if not candidate.spec.continues or inputs.shape[1] <= steps:
        return 0.0
    windows = {key for start in range(inputs.shape[1] - steps + 1) for key in _keys(inputs[:, start : start + steps])}
    return len(windows & read.inputs) / len(read.inputs)


def rows_twice(candidate: TaskCandidate) -> str:
    """Does no row stand twice in an evaluation set?"""
    read, told = candidate.once(training), []
    for name in candidate.task.evaluation_sets:
        keys = _inputs(_scored(candidate, name))
        again, allowed = len(keys) - len({*keys}), min(len(keys), read.allowed(len(keys) * (len(keys) - 1) / 2))
        # Sets beside these two may be drawn in another way than the training, and then more often alike by chance.
        require(
            name not in ("validation", "test") or again <= allowed,
            f"{again:,} of the {len(keys):,} rows of the set '{name}' stand there twice{read.by_chance(allowed)}; they "
            "count double",
        )
        told.append(f"{again:,} of {name}'s {len(keys):,}{read.by_chance(allowed)}")
    return ", ".join(told)


def rows_in_two_sets(candidate: TaskCandidate) -> str:
    """Do the evaluation sets have no row in common?"""
    read, told, task = candidate.once(training), [], candidate.task
    prints = task.set_fingerprints()
    require(
        prints["validation"] != prints["test"], "the validation and the test set must differ, and are one and the same"
    )
    keys = {name: _inputs(_scored(candidate, name)) for name in task.evaluation_sets}
    for one, two in combinations(keys, 2):
        rows, others = keys[one], {*keys[two]}
        common = sum(key in others for key in rows)
        allowed = min(len(rows), read.allowed(len(rows) * len(keys[two])))
        require(
            common <= allowed,
            f"{common:,} of the {len(rows):,} rows of the set '{one}' are in the set '{two}' too"
            f"{read.by_chance(allowed)}; what is chosen on the one is not tested on the other",
        )
        told.append(f"{one} and {two} {common:,}{read.by_chance(allowed)}")
    return "rows in common: " + ", ".join(told)

"""Whether `predict` answers from the model and the inputs, and nothing else."""

import torch

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require, same


def predict_without_targets(candidate: TaskCandidate) -> str:
    """Does `predict` give the same whatever the targets are?"""
    batch = candidate.few("test", 20)
    other = batch._replace(targets=_other(batch))
    one, two = candidate.predicted(batch), candidate.predicted(other)
    require(
        one.shape == two.shape and torch.equal(one, two),
        "predict changes with the targets, with the same model and inputs: what is scored must not know the answer",
    )
    return f"{len(batch.targets)} rows with the targets of others: the same {tuple(one.shape)}"


def _other(batch: Batch) -> torch.Tensor:
    """Targets that are others' and turned round."""
    targets = batch.targets.roll(1, 0)
    return targets.flip(1) if targets.dim() > 1 and batch.target_lengths is None else targets


def predict_again(candidate: TaskCandidate) -> str:
    """Does `predict` give the same again, and leave the batch as it is?"""
    batch = candidate.few("test", 20)
    before, found = batch.map(torch.clone), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(candidate.predicted(batch))
    require(
        torch.equal(found[0], found[1]),
        "predict gives another answer when it is asked again: it must draw nothing at random",
    )
    require(same(before, batch), "predict changes the batch in place; it must leave it as it is")
    return f"{len(batch.targets)} rows, twice: the same"


def predict_by_rows(candidate: TaskCandidate) -> str:
    """Does `predict` answer each row by itself?"""
    if not candidate.task.predicts_rows:
        raise NotAsked("predicts_rows = False")
    batch = candidate.few("validation", 6)
    whole = candidate.predicted(batch)
    for part in (slice(2, 4), slice(0, 1), slice(1, None)):
        some = candidate.predicted(batch.rows(part))
        require(
            whole.shape[1:] == some.shape[1:] and torch.allclose(whole[part], some, rtol=1e-4, atol=1e-5),
            "predict must answer each row by itself; where it needs the whole set, say so: predicts_rows = False",
        )
    return f"{len(batch.targets)} rows, and parts of them: the same"

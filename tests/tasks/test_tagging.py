"""The tagging task: its casino against the definition, its posteriors against all paths of dice, its baselines."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import tagging
from rnnae_tasks.tagging.casino import Casino
from rnnae_tasks.tagging.datamodule import TaggingTask
from scipy.special import logsumexp
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = [*TaggingTask.card().variants]


@pytest.mark.parametrize(
    "text", [TaggingTask.__doc__, Path(tagging.__file__).with_name("README.md").read_text("utf-8")]
)
def test_the_drawn_row_is_one(text):
    batch = TaggingTask(min_length=24, max_length=24).evaluation_set("test").rows(slice(36, 37))
    assert "input    " + " ".join(str(face + 1) for face in batch.inputs[0].tolist()) in text
    assert "target   " + " ".join(".L"[die] for die in batch.targets[0].tolist()) in text


def test_dice_are_exchanged_and_thrown_as_the_casino_says():
    casino = Casino(load=0.05, unload=0.1, six=0.5)
    faces, dice = casino.roll(4000, 50, torch.Generator().manual_seed(0))
    assert chisquare(torch.bincount(dice[:, 0]), 4000 * casino.share.numpy()).pvalue > 0.001
    # Pairs that are far apart, so that they are as good as independent.
    for time in (0, 24, 48):
        now, following = dice[:, time], dice[:, time + 1]
        for die in (0, 1):
            seen = torch.bincount(following[now == die], minlength=2)
            assert chisquare(seen, seen.sum().item() * casino.exchange[die].numpy()).pvalue > 0.001
    for die, chances in enumerate(([1 / 6] * 6, [0.1] * 5 + [0.5])):
        seen = torch.bincount(faces[dice == die], minlength=6)
        assert chisquare(seen, seen.sum().item() * np.array(chances)).pvalue > 0.001


@pytest.mark.parametrize("casino", [Casino(0.05, 0.1, 0.5), Casino(0.7, 0.3, 0.0), Casino(0.2, 0.01, 1.0)])
def test_posteriors_are_those_of_all_paths_of_dice(casino):
    """Each path's probability is a product; those that agree with the rolls and have a die at a step are summed."""
    faces, _ = casino.roll(3, 7, torch.Generator().manual_seed(1))
    lengths = torch.tensor([7, 4, 1])
    found = casino.posterior(faces, lengths)
    share, exchange, chances = casino.share.tolist(), casino.exchange.tolist(), casino.faces.tolist()

    def brute(rolls, step):
        totals = [0.0, 0.0]
        for path in itertools.product((0, 1), repeat=len(rolls)):
            weight = share[path[0]]
            for before, after in itertools.pairwise(path):
                weight *= exchange[before][after]
            for die, face in zip(path, rolls, strict=True):
                weight *= chances[die][face]
            totals[path[step]] += weight
        return [one / sum(totals) for one in totals]

    for row, length in enumerate(lengths.tolist()):
        rolls = faces[row, :length].tolist()
        for step in range(length):
            for name, seen, place in (
                ("memoryless", rolls[step : step + 1], 0),
                ("filtered", rolls[: step + 1], step),
                ("smoothed", rolls, step),
            ):
                assert getattr(found, name)[row, step].tolist() == pytest.approx(brute(seen, place), abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines(variant, agrees):
    """By recursions in logarithms over the whole test set, and by counting; the card's are of normalised weights."""
    task = TaggingTask.from_variant(variant)
    load, unload, six = task.casino.load, task.casino.unload, task.casino.six
    faces, dice, lengths = (one.numpy() for one in task.evaluation_set("test")[:3])
    share = np.log([unload / (load + unload), load / (load + unload)])
    exchange = np.log([[1 - load, load], [unload, 1 - unload]])
    likelihood = np.log([[1 / 6] * 6, [(1 - six) / 5] * 5 + [six]]).T[faces]
    rows, steps = faces.shape
    forward, backward = np.empty((rows, steps, 2)), np.zeros((rows, steps, 2))
    forward[:, 0] = share + likelihood[:, 0]
    for t in range(1, steps):
        forward[:, t] = likelihood[:, t] + logsumexp(forward[:, t - 1, :, None] + exchange, axis=1)
    for t in reversed(range(steps - 1)):
        ahead = logsumexp(exchange + (likelihood[:, t + 1] + backward[:, t + 1])[:, None], axis=2)
        backward[:, t] = np.where((t + 1 < lengths)[:, None], ahead, 0.0)
    known = np.arange(steps) < lengths[:, None]
    answers = {
        "majority": np.broadcast_to(share, likelihood.shape),
        "memoryless": share + likelihood,
        "filtering": forward,
        "smoothing": forward + backward,
    }
    for name, weights in answers.items():
        chances = weights - logsumexp(weights, axis=2, keepdims=True)
        right = (chances.argmax(2) == dice)[known].mean()
        loss = -np.take_along_axis(chances, dice[..., None], 2)[..., 0][known].mean()
        agrees(f"tagging:{variant}", name, "accuracy", right, "recursions in logarithms (scipy)", within=2e-6)
        agrees(f"tagging:{variant}", name, "loss", loss, "recursions in logarithms (scipy)", within=2e-6)
        if name == "smoothing":
            # The optimum is as often right as its own probabilities say.
            assert right == pytest.approx(np.exp(chances.max(2))[known].mean(), abs=0.012)


def test_a_player_who_knows_the_dice_scores_one():
    task = TaggingTask(evaluation_size=50)
    batch, metrics = task.evaluation_set("test"), task.metrics()
    update_metrics(metrics, torch.nn.functional.one_hot(batch.targets, 2) * 50.0, batch)
    assert metrics.compute()["accuracy"] == 1


def test_each_row_counts_by_its_length():
    task = TaggingTask(evaluation_size=60)
    batch, answer = task.evaluation_set("test"), task.baseline_answer("filtering")
    parts = [task.example_scores("accuracy", answer[rows], batch.rows(rows)) for rows in (slice(0, 7), slice(7, None))]
    assert torch.cat(parts).mean().item() == pytest.approx(task.baseline("filtering")["accuracy"])
    assert task.example_scores("loss", answer, batch) is None


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (TaggingTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    lengths = TaggingTask(protocol=Protocol(batch_size=3000)).train_batch(0).lengths
    assert chisquare(torch.bincount(lengths)[20:]).pvalue > 0.001


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"load": 0.0}, "load is 0.0"),
        ({"unload": -0.1}, "unload is -0.1"),
        ({"load": 0.8, "unload": 0.4}, "load is 0.8 and unload 0.4"),
        ({"load": float("nan")}, "load is nan"),
        ({"six": 1.5}, "six is 1.5"),
        ({"six": float("nan")}, "six is nan"),
        ({"min_length": 0}, "min_length is 0"),
        ({"max_length": 10}, "max_length is 10; it must be at least min_length, 20"),
        ({"evaluation_size": 0}, "evaluation_size is 0"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message) as refusal:
        TaggingTask(**setting)
    assert "\n" not in str(refusal.value)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'viterbi'; it has majority, memoryless, filtering, smoothing"):
        TaggingTask(evaluation_size=2).baseline("viterbi")

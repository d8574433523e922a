"""The copy task against its definition, and its floor against a simulated memoryless player."""

import math

import numpy as np
import pytest
import torch
from rnnae_tasks.copy.datamodule import CopyTask
from scipy.stats import binom

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError


def test_a_row_is_the_drawn_example():
    task = CopyTask(delay=4, recall=3, symbols=8)
    inputs, targets = task.evaluation_set("test").rows(slice(0, 1))[:2]
    symbols = inputs[0, :3].tolist()
    assert inputs[0].tolist() == [*symbols, 0, 0, 0, 9, 0, 0, 0]
    assert targets[0].tolist() == [0] * 7 + symbols
    assert task.spec.scored_steps == (7, 10)
    assert task.spec.inputs.length == 10


def test_symbols_are_uniform():
    symbols = CopyTask(evaluation_size=4000).evaluation_set("test").inputs[:, :10].flatten()
    counts = torch.bincount(symbols, minlength=10)
    assert counts[0] == 0
    assert counts[9] == 0
    expected = len(symbols) / 8
    chi_square = ((counts[1:9] - expected) ** 2 / expected).sum()
    assert chi_square < 24.3  # the 0.999 quantile with 7 degrees of freedom


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same = CopyTask(protocol=protocol), CopyTask(protocol=protocol)
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    other = CopyTask(protocol=protocol, data_seed=1)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)
    assert not torch.equal(one.evaluation_set("test").inputs, one.evaluation_set("validation").inputs)


def test_memoryless_floor_is_what_a_memoryless_player_scores():
    task = CopyTask(delay=10, evaluation_size=2000)
    batch = task.evaluation_set("test")
    logits = torch.full((*batch.targets.shape, 9), -1e4)
    logits[:, :-10, 0] = 0.0  # certain blanks until the delimiter
    logits[:, -10:, 1:] = 0.0  # then all symbols alike
    floor = task.baseline("memoryless")
    assert task.loss(logits, batch).item() == pytest.approx(floor["loss"], rel=1e-6)
    assert floor["loss"] == pytest.approx(10 * math.log(8) / 30)
    metrics = task.metrics()
    metrics.update(logits, batch.targets)
    measured = {name: value.item() for name, value in metrics.compute().items()}
    assert measured["loss"] == pytest.approx(floor["loss"], rel=1e-6)
    assert measured["recall_loss"] == pytest.approx(math.log(8), rel=1e-6)
    assert measured["recall_accuracy"] == pytest.approx(1 / 8, abs=0.01)


@pytest.mark.parametrize("variant", CopyTask.card().variants)
def test_the_cards_floors_are_those_of_a_player_without_memory(variant, agrees):
    task = CopyTask.from_variant(variant, evaluation_size=4)
    targets, recall = task.evaluation_set("test").targets.numpy(), task.recall
    chances = np.zeros((*targets.shape, 9))
    chances[:, :-recall, 0] = 1
    chances[:, -recall:, 1:] = 1 / 8
    losses = -np.log(np.take_along_axis(chances, targets[..., None], axis=-1))[..., 0]
    label, method = f"copy:{variant}", "the losses of a player without memory"
    agrees(label, "memoryless", "loss", losses.mean(), method)
    agrees(label, "memoryless", "recall_loss", losses[:, -recall:].mean(), method)
    guesses = binom(recall, 1 / 8)
    agrees(label, "memoryless", "recall_accuracy", guesses.mean() / recall, "scipy's binomial distribution")
    agrees(label, "memoryless", "sequence_accuracy", guesses.pmf(recall), "scipy's binomial distribution")


def test_a_perfect_player_scores_one():
    task = CopyTask(delay=3)
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    metrics.update(torch.nn.functional.one_hot(batch.targets, 9).float() * 50, batch.targets)
    measured = metrics.compute()
    assert measured["recall_accuracy"] == 1
    assert measured["sequence_accuracy"] == 1


@pytest.mark.parametrize("setting", [{"delay": -1}, {"delay": 0}, {"recall": 0}, {"symbols": 0}])
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        CopyTask(**setting)


def test_the_needed_lag_is_from_a_symbol_to_its_recall():
    for variant in CopyTask.card().variants.values():
        (inputs, targets) = CopyTask.from_variant(variant.name, evaluation_size=1).evaluation_set("test")[:2]
        assert inputs[0].nonzero()[0] + variant.needed_lag == targets[0].nonzero()[0]

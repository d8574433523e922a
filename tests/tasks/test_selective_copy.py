"""Selective copying against its definition, and its floor against a memoryless player."""

import itertools
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from rnnae_tasks.selective_copy import datamodule
from rnnae_tasks.selective_copy.datamodule import SelectiveCopyTask
from scipy.stats import binom, chisquare, entropy

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = SelectiveCopyTask.card().variants
README = (Path(datamodule.__file__).parent / "README.md").read_text()


@pytest.mark.parametrize("text", [SelectiveCopyTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_the_first_of_the_test_set(text):
    batch = SelectiveCopyTask(noise=5, recall=3).evaluation_set("test")
    for name, row in (("input", batch.inputs[0]), ("target", batch.targets[0])):
        drawn = re.findall(rf"^ *{name} +(.*)$", text, re.M)[0]
        assert drawn == " ".join(".abcdefgh#"[one] for one in row)


@pytest.mark.parametrize(("noise", "recall", "symbols"), [(0, 3, 2), (7, 1, 1), (9, 4, 20)])
def test_the_answer_is_what_is_left_when_blanks_are_struck_out(noise, recall, symbols):
    task = SelectiveCopyTask(noise, recall, symbols, evaluation_size=200)
    batch = task.evaluation_set("test")
    assert task.spec.scored_steps == (noise + recall, noise + 2 * recall)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        read, marked = inputs[: noise + recall], inputs[noise + recall :]
        kept = [one for one in read if one]
        assert len(kept) == recall
        assert {*kept} <= {*range(1, symbols + 1)}
        assert marked == [symbols + 1] * recall
        assert targets == [0] * (noise + recall) + kept


def test_places_and_symbols_are_all_alike():
    batch = SelectiveCopyTask(noise=4, recall=2, symbols=3, evaluation_size=9000).evaluation_set("test")
    places = Counter(tuple(row.nonzero().flatten().tolist()) for row in batch.inputs[:, :6])
    assert chisquare([places[pair] for pair in itertools.combinations(range(6), 2)]).pvalue > 0.001
    symbols = Counter(map(tuple, batch.targets[:, -2:].tolist()))
    assert chisquare([symbols[pair] for pair in itertools.product((1, 2, 3), repeat=2)]).pvalue > 0.001


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_floor_is_that_of_independent_guesses(variant, agrees):
    task, label = SelectiveCopyTask.from_variant(variant), f"selective_copy:{variant}"
    agrees(label, "memoryless", "loss", entropy([1] * task.symbols), "scipy entropy")
    right = binom(task.recall, 1 / task.symbols)
    agrees(label, "memoryless", "recall_accuracy", right.mean() / task.recall, "scipy binomial")
    agrees(label, "memoryless", "sequence_accuracy", right.pmf(task.recall), "scipy binomial")


def test_a_memoryless_player_scores_the_floor_and_a_perfect_one_the_ceiling():
    task = SelectiveCopyTask(noise=6, recall=2, symbols=3, evaluation_size=20_000)
    batch, floor = task.evaluation_set("test"), task.baseline("memoryless")
    guess = torch.zeros(*batch.targets.shape, 4)
    guess[..., 0] = -math.inf
    guess[..., 1] = 1e-6
    for logits, expected in (
        (guess, floor),
        (
            torch.nn.functional.one_hot(batch.targets, 4) * 50.0,
            {"recall_accuracy": 1, "sequence_accuracy": 1, "loss": 0},
        ),
    ):
        metrics = task.metrics()
        update_metrics(metrics, logits, batch)
        measured = {name: value.item() for name, value in metrics.compute().items()}
        assert measured == pytest.approx(expected, abs=0.01)
        assert task.loss(logits, batch).item() == pytest.approx(measured["loss"], abs=1e-6)
        for metric in ("recall_accuracy", "sequence_accuracy"):
            scores = task.example_scores(metric, logits, batch)
            assert scores.double().mean().item() == pytest.approx(measured[metric], rel=1e-5)


def test_the_needed_lag_is_the_mean_one():
    for variant in VARIANTS.values():
        task = SelectiveCopyTask.from_variant(variant.name, evaluation_size=300)
        inputs = task.evaluation_set("test").inputs
        read = task.noise + task.recall
        places = inputs[:, :read].nonzero()[:, 1].view(-1, task.recall)
        lags = read + torch.arange(task.recall) - places
        assert lags.min() >= task.recall
        assert lags.max() <= read
        assert lags.double().mean().item() == pytest.approx(variant.needed_lag, rel=0.05)


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, other = SelectiveCopyTask(protocol=protocol), SelectiveCopyTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, SelectiveCopyTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)


@pytest.mark.parametrize("setting", [{"noise": -1}, {"recall": 0}, {"symbols": 0}, {"evaluation_size": 0}], ids=str)
def test_bad_settings_are_refused_by_name_and_value(setting):
    ((option, value),) = setting.items()
    with pytest.raises(UserError, match=f"{option} is {value}"):
        SelectiveCopyTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="memoryless"):
        SelectiveCopyTask().baseline("chance")

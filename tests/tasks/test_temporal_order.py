"""Temporal order against its definition, and its floors against enumeration and fitted classifiers."""

import re
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks.temporal_order import datamodule
from rnnae_tasks.temporal_order.datamodule import TemporalOrderTask
from scipy.stats import chisquare
from sklearn.ensemble import RandomForestClassifier

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = TemporalOrderTask.card().variants
README = (Path(datamodule.__file__).parent / "README.md").read_text()
PUBLISHED = {2: [(10, 20), (50, 60)], 3: [(10, 20), (33, 43), (66, 76)]}
SYMBOLS = "XYabcdEB"


@pytest.mark.parametrize("text", [TemporalOrderTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_the_first_of_the_test_set(text):
    batch = TemporalOrderTask(length=20).evaluation_set("test")
    assert re.findall(r"^ *input +(.*)$", text, re.M)[0] == " ".join(SYMBOLS[one] for one in batch.inputs[0])
    assert re.findall(r"^ *target +(.*)$", text, re.M)[0] == ("XX", "XY", "YX", "YY")[batch.targets[0]]


@pytest.mark.parametrize("symbols", [2, 3])
def test_classes_are_the_symbols_in_order_and_stand_in_the_published_windows(symbols):
    task = TemporalOrderTask(symbols=symbols, evaluation_size=4000)
    batch = task.evaluation_set("test")
    names = ["".join(which) for which in product("XY", repeat=symbols)]
    places = defaultdict(Counter)
    for inputs, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        text = "".join(SYMBOLS[one] for one in inputs)
        assert re.fullmatch(r"E[abcdXY]{98}B", text)
        assert re.sub("[^XY]", "", text) == names[target]
        for which, match in enumerate(re.finditer("[XY]", text)):
            places[which][match.start()] += 1
    for which, (first, last) in enumerate(PUBLISHED[symbols]):
        assert chisquare([places[which][step] for step in range(first, last + 1)]).pvalue > 0.001
        assert sum(places[which][step] for step in range(first, last + 1)) == 4000
    assert chisquare(torch.bincount(batch.targets, minlength=2**symbols)).pvalue > 0.001
    assert chisquare(torch.bincount(batch.inputs.flatten())[2:6]).pvalue > 0.001


def test_windows_of_any_length_lie_apart_and_between_first_and_last_step():
    for length, symbols in product(range(10, 240), (2, 3)):
        windows = TemporalOrderTask(length, symbols).windows
        steps = [0, *(step for window in windows for step in window), length - 1]
        assert all(steps[i] < steps[i + 1] or (i % 2 and steps[i] == steps[i + 1]) for i in range(len(steps) - 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines_are_those_of_classes_enumerated(variant, agrees):
    symbols, label = VARIANTS[variant].data["symbols"], f"temporal_order:{variant}"
    names = ["".join(which) for which in product("XY", repeat=symbols)]
    views = {"chance": lambda name: "", "all_but_first": lambda name: name[1:], "counts": lambda name: name.count("Y")}
    for baseline, view in views.items():
        alike = [sum(view(one) == view(other) for other in names) for one in names]
        agrees(label, baseline, "accuracy", np.mean([1 / size for size in alike]), "classes enumerated")
        agrees(label, baseline, "loss", np.mean(np.log(alike)), "classes enumerated")


@pytest.mark.parametrize("symbols", [2, 3])
def test_a_fitted_bag_of_symbols_is_no_better_than_counts(symbols):
    task = TemporalOrderTask(length=30, symbols=symbols, evaluation_size=4000)
    bags = {
        name: torch.nn.functional.one_hot(task.evaluation_set(name).inputs, 8).sum(1).numpy()
        for name in ("validation", "test")
    }
    forest = RandomForestClassifier(50, min_samples_leaf=20, random_state=0)
    forest.fit(bags["validation"], task.evaluation_set("validation").targets.numpy())
    found = forest.score(bags["test"], task.evaluation_set("test").targets.numpy())
    assert found == pytest.approx(task.baseline("counts")["accuracy"], abs=0.03)


@pytest.mark.parametrize("symbols", [2, 3])
def test_baselines_answers_score_what_the_closed_forms_say(symbols):
    task = TemporalOrderTask(length=10, symbols=symbols, evaluation_size=20_000)
    batch = task.evaluation_set("test")
    for name in ("chance", "all_but_first", "counts"):
        answer, metrics = task.baseline_answer(name), task.metrics()
        update_metrics(metrics, answer, batch)
        measured = {metric: value.item() for metric, value in metrics.compute().items()}
        assert measured == pytest.approx(task.baseline(name), abs=0.01)
        scores = task.example_scores("accuracy", answer, batch)
        assert scores.double().mean().item() == pytest.approx(measured["accuracy"])
        assert task.example_scores("loss", answer, batch) is None


def test_a_perfect_player_reaches_the_ceiling():
    task = TemporalOrderTask(symbols=3)
    batch, metrics = task.evaluation_set("test"), task.metrics()
    update_metrics(metrics, torch.nn.functional.one_hot(batch.targets, 8) * 50.0, batch)
    assert metrics.compute()["accuracy"] == 1
    assert metrics.compute()["loss"] < 1e-6


def test_the_needed_lag_is_the_least_from_the_first_symbol_to_the_answer():
    for variant in VARIANTS.values():
        inputs = TemporalOrderTask.from_variant(variant.name, evaluation_size=3000).evaluation_set("test").inputs
        assert variant.needed_lag == (inputs.shape[1] - 1 - (inputs < 2).int().argmax(1)).min()


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, other = TemporalOrderTask(protocol=protocol), TemporalOrderTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, TemporalOrderTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)


@pytest.mark.parametrize(
    "setting", [{"length": 9}, {"length": -1}, {"symbols": 1}, {"symbols": 4}, {"evaluation_size": 0}], ids=str
)
def test_bad_settings_are_refused_by_name_and_value(setting):
    ((option, value),) = setting.items()
    with pytest.raises(UserError, match=f"{option} is {value}"):
        TemporalOrderTask(**setting)


def test_an_unknown_baseline_is_refused():
    for ask in (TemporalOrderTask().baseline, TemporalOrderTask().baseline_answer):
        with pytest.raises(UserError, match="chance, all_but_first, counts"):
            ask("ngram")

"""Associative recall against its definition, and its floors against enumeration."""

import itertools
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from rnnae_tasks.recall import datamodule
from rnnae_tasks.recall.datamodule import RecallTask
from scipy.special import gammaln
from scipy.stats import chisquare, entropy

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = RecallTask.card().variants
README = (Path(datamodule.__file__).parent / "README.md").read_text()


@pytest.mark.parametrize("text", [RecallTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_the_first_of_the_test_set(text):
    batch = RecallTask(pairs=3, keys=8, values=8, length=18).evaluation_set("test")
    symbols = ".abcdefgh12345678"
    for name, row in (("input", batch.inputs[0]), ("target", batch.targets[0])):
        drawn = re.findall(rf"^ *{name} +(.*)$", text, re.M)[0]
        assert drawn == " ".join(symbols[one] for one in row)


@pytest.mark.parametrize(
    ("pairs", "keys", "values", "length", "power"),
    [(1, 1, 1, 4, 0.01), (3, 5, 4, 13, 0.01), (4, 4, 9, 16, 1.0), (5, 30, 30, 64, 1e9), (5, 9, 9, 40, 1e-300)],
)
def test_a_look_up_answers_every_query_and_nothing_else_is_asked(pairs, keys, values, length, power):
    task = RecallTask(pairs, keys, values, length, power, evaluation_size=200)
    batch = task.evaluation_set("test")
    for inputs, targets, mask in zip(batch.inputs.tolist(), batch.targets.tolist(), batch.mask.tolist(), strict=True):
        known = dict(zip(inputs[0 : 2 * pairs : 2], inputs[1 : 2 * pairs : 2], strict=True))
        assert len(known) == len({*known.values()}) == pairs
        assert known.keys() <= {*range(1, keys + 1)}
        assert {*known.values()} <= {*range(keys + 1, keys + values + 1)}
        asked = [step for step in range(2 * pairs, length) if inputs[step]]
        assert {inputs[step] for step in asked} == known.keys()
        assert all(step % 2 == 0 for step in asked)
        assert [step for step in range(length) if mask[step]] == asked
        assert targets == [known[inputs[step]] if step in asked else 0 for step in range(length)]


def in_order(pairs: int, places: int, power: float) -> dict[tuple[int, ...], float]:
    """The chance of every order in which places are drawn, one after the other, from the definition."""
    weights = [(place + 1) ** (power - 1) for place in range(places)]
    chances = {}
    for drawn in itertools.permutations(range(places), pairs):
        chances[drawn], left = 1.0, sum(weights)
        for place in drawn:
            chances[drawn] *= weights[place] / left
            left -= weights[place]
    return chances


@pytest.mark.parametrize("power", [0.01, 1.0, 3.0])
def test_places_of_queries_follow_the_power_law_and_are_dealt_at_random(power):
    pairs, length, size = 2, 14, 20_000
    batch = RecallTask(pairs, 4, 4, length, power, size).evaluation_set("test")
    first = (batch.inputs[:, 4::2] == batch.inputs[:, :1]).int().argmax(1)
    second = (batch.inputs[:, 4::2] == batch.inputs[:, 2:3]).int().argmax(1)
    found = Counter(zip(first.tolist(), second.tolist(), strict=True))
    drawn = in_order(pairs, 5, power)
    dealt = {places: (chance + drawn[places[::-1]]) / 2 for places, chance in drawn.items()}
    assert chisquare([found[places] for places in dealt], [size * chance for chance in dealt.values()]).pvalue > 0.001


def best_without_keys(pairs: int, length: int, power: float, dealt: bool) -> float:
    """How often one is right who knows the order of the values and all places, and no key; by enumeration."""
    mass = defaultdict(lambda: [0.0] * pairs)
    for drawn, chance in in_order(pairs, length // 2 - pairs, power).items():
        orders = [*itertools.permutations(drawn)] if dealt else [drawn]
        for order in orders:
            for pair, place in enumerate(order):
                mass[frozenset(drawn), place][pair] += chance / len(orders)
    return sum(map(max, mass.values())) / pairs


def test_without_keys_the_values_seen_are_all_alike_as_places_are_dealt():
    assert best_without_keys(3, 18, 0.01, dealt=True) == pytest.approx(1 / 3)
    leak = best_without_keys(3, 16, 0.01, dealt=False)
    assert f"right in {leak:.2f} of the queries" in README.replace("\n", " ")


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines_are_those_of_orders_enumerated(variant, agrees):
    task, label = RecallTask.from_variant(variant, evaluation_size=1), f"recall:{variant}"
    for name, count in (("seen_values", task.pairs), ("chance", task.values)):
        agrees(label, name, "loss", entropy([1 / count] * count), "scipy entropy")
        if math.perm(count, task.pairs) < 50_000:
            answer = tuple(range(task.pairs))
            right = [
                sum(one == two for one, two in zip(order, answer, strict=True)) / task.pairs
                for order in itertools.permutations(range(count), task.pairs)
            ]
            agrees(label, name, "accuracy", sum(right) / len(right), "all orders enumerated")
            agrees(label, name, "sequence_accuracy", right.count(1) / len(right), "all orders enumerated")
        else:
            # Of a random order, a place holds a given value in (n - 1)! / n! of the cases.
            agrees(label, name, "accuracy", math.exp(gammaln(count) - gammaln(count + 1)), "scipy gammaln")
            orders = gammaln(count + 1) - gammaln(count - task.pairs + 1)
            agrees(label, name, "sequence_accuracy", math.exp(-orders), "scipy gammaln")


def test_the_values_in_their_order_answer_as_well_as_the_floor_says():
    task = RecallTask(pairs=3, evaluation_size=20_000)
    batch, answer = task.evaluation_set("test"), task.baseline_answer("seen_values")
    metrics, floor = task.metrics(), task.baseline("seen_values")
    update_metrics(metrics, answer, batch)
    for metric in ("accuracy", "sequence_accuracy"):
        assert metrics.compute()[metric].item() == pytest.approx(floor[metric], abs=0.01)
        scores = task.example_scores(metric, answer, batch)
        assert scores.double().mean().item() == pytest.approx(metrics.compute()[metric].item())
    assert task.baseline_answer("chance") is None
    assert task.example_scores("loss", answer, batch) is None


def test_a_perfect_player_reaches_the_ceiling():
    task = RecallTask.from_variant("standard")
    batch = task.evaluation_set("test")
    logits = torch.nn.functional.one_hot(batch.targets, task.spec.outputs.count) * 50.0
    logits[~batch.mask] = -1.0
    metrics = task.metrics()
    update_metrics(metrics, logits, batch)
    assert metrics.compute()["accuracy"] == metrics.compute()["sequence_accuracy"] == 1
    assert task.loss(logits, batch) < 1e-6


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, other = RecallTask(protocol=protocol), RecallTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, RecallTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)


def test_every_row_has_a_query_as_far_back_as_the_needed_lag_and_some_have_none_further():
    for pairs in (1, 2, 3):
        longest = [
            max(2 * pairs + 2 * place - (2 * pair + 1) for pair, place in enumerate(order))
            for order in itertools.permutations(range(5), pairs)
        ]
        assert min(longest) == 2 * pairs - 1
    for variant in VARIANTS.values():
        task = RecallTask.from_variant(variant.name, evaluation_size=50)
        batch = task.evaluation_set("test")
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            lags = [step - inputs.index(target) for step, target in enumerate(targets) if target]
            assert max(lags) >= variant.needed_lag
        assert variant.needed_lag == 2 * task.pairs - 1


@pytest.mark.parametrize(
    "setting",
    [{"pairs": 0}, {"keys": 0}, {"values": 0}, {"power": 0.0}, {"power": -1.0}, {"power": math.inf},
     {"power": math.nan}, {"evaluation_size": 0}, {"keys": 3}, {"values": 3}, {"pairs": 17}, {"length": 15}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name_and_value(setting):
    ((option, value),) = setting.items()
    with pytest.raises(UserError, match=f"{option} is {value}"):
        RecallTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="seen_values, chance"):
        RecallTask().baseline("ngram")

"""Dyck-1 against its grammar by enumeration, its optimum against closed forms, its n-grams, and what it refuses."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import counting
from rnnae_tasks.counting.brackets import CLOSE, MARK, OPEN, Brackets, lengths_of
from rnnae_tasks.counting.dyck import DyckTask
from scipy.special import comb, xlogy
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = [*DyckTask.card().variants]
README = Path(counting.__file__).with_name("README.md").read_text("utf-8")


def text(places):
    return "".join("#()"[place] for place in places)


def strings_of(pairs):
    """All balanced strings of so many pairs, by trying."""
    for choice in itertools.product("()", repeat=2 * pairs):
        depths = [*itertools.accumulate(1 if one == "(" else -1 for one in choice)]
        if min(depths, default=0) >= 0 and (not depths or depths[-1] == 0):
            yield "".join(choice)


def chances_of(expand, pairs):
    """Of every string with at most so many pairs: one choice for each pair, one for each place where none opens."""
    weights = {
        string: expand**count * (1 - expand) ** (count + 1)
        for count in range(pairs + 1)
        for string in strings_of(count)
    }
    return {string: weight / sum(weights.values()) for string, weight in weights.items()}


@pytest.mark.parametrize("shown", [DyckTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_one(shown):
    string = "(()())"
    assert string in strings_of(3)
    assert "input    # " + " ".join(string) in shown
    assert "target   " + " ".join(string) + " #" in shown


@pytest.mark.parametrize("expand", [0.3, 0.45])
def test_chances_are_those_of_all_strings(expand):
    """Sums over the strings that begin so, of up to 5 pairs."""
    weights = chances_of(expand, 5)
    grammar = Brackets(expand, 5)
    beginnings = {string[:end] for string in weights for end in range(len(string) + 1)}
    for begun in beginnings:
        places = torch.tensor([[MARK, *("#()".index(one) for one in begun)]])
        found = grammar.chances(places)[0, -1].tolist()
        total = sum(weight for string, weight in weights.items() if string.startswith(begun))
        following = [weights.get(begun, 0.0)]
        following += [sum(w for s, w in weights.items() if s.startswith(begun + one)) for one in "()"]
        assert found == pytest.approx([one / total for one in following], abs=1e-12)


def test_strings_are_drawn_as_often_as_the_grammar_says():
    weights = chances_of(0.45, 4)
    drawn = Brackets(0.45, 4).draw(20_000, torch.Generator().manual_seed(0))
    lengths = lengths_of(drawn).tolist()
    seen = [text(row[1:length]) for row, length in zip(drawn.tolist(), lengths, strict=True)]
    assert set(seen) == set(weights)
    assert chisquare([seen.count(one) for one in weights], [20_000 * one for one in weights.values()]).pvalue > 1e-3
    assert all(not any(row[length + 1 :]) for row, length in zip(drawn.tolist(), lengths, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines(variant, agrees):
    """The optimum by Catalan numbers; counts and a loop for the others."""
    task = DyckTask.from_variant(variant)
    label, batch = f"dyck:{variant}", task.evaluation_set("test")
    expand, pairs = task.grammar.expand, task.grammar.pairs
    count = np.arange(pairs + 1)
    log_weights = np.log(comb(2 * count, count)) - np.log1p(count) + xlogy(count, expand * (1 - expand))
    total = np.log(1 - expand) + np.logaddexp.reduce(log_weights)
    opened = (batch.lengths.numpy() - 1) // 2
    bits = -(opened * math.log(expand) + (opened + 1) * math.log(1 - expand) - total).sum() / math.log(2)
    agrees(label, "optimal", "bits", bits / batch.lengths.sum().item(), "Catalan numbers")
    agrees(label, "optimal", "end_accuracy", 1.0, "by definition")
    counted = task.grammar.draw(20_000, task.generator("counted"))
    within = torch.arange(counted.shape[1] - 1) < lengths_of(counted).unsqueeze(1)
    shares = torch.bincount(counted[:, 1:][within], minlength=3).double()
    within = torch.arange(batch.targets.shape[1]) < batch.lengths.unsqueeze(1)
    test = torch.bincount(batch.targets[within], minlength=3).double()
    # Witten and Bell's rule, of no context: T = 3 symbols seen, and the even chance before.
    chances = (shares + 3 / 3) / (shares.sum() + 3)
    agrees(label, "unigram", "bits", -(test * chances.log2()).sum() / test.sum(), "counted")
    more = max(test[MARK], test[CLOSE]) if (chances[MARK] > chances[CLOSE]) == (test[MARK] > test[CLOSE]) else 0
    agrees(label, "unigram", "end_accuracy", more / (test[MARK] + test[CLOSE]), "counted")
    # N-grams are held to a loop in the tests of `counting`; here that their answers are what the card says.
    for metric, value in task.baseline("ngram").items():
        agrees(label, "ngram", metric, value, "counts, held to a loop in test_counting")


def test_without_a_limit_each_symbol_costs_one_choice():
    grammar = Brackets(0.3, 200)
    strings = grammar.draw(4000, torch.Generator().manual_seed(1))
    steps = torch.arange(strings.shape[1] - 1) < lengths_of(strings).unsqueeze(1)
    costs = -grammar.chances(strings[:, :-1]).log2().gather(2, strings[:, 1:].unsqueeze(2))[..., 0][steps]
    entropy = -0.3 * math.log2(0.3) - 0.7 * math.log2(0.7)
    assert round(entropy, 4) == 0.8813
    assert costs.mean().item() == pytest.approx(entropy, abs=0.02)


def test_who_knows_the_grammar_has_all_right_and_rows_add_up():
    task = DyckTask(evaluation_size=60)
    batch, answer, metrics = task.evaluation_set("test"), task.baseline_answer("optimal"), task.metrics()
    update_metrics(metrics, answer, batch)
    found = metrics.compute()
    assert found["end_accuracy"] == 1
    assert task.example_scores("bits", answer, batch).mean().item() == pytest.approx(found["bits"].item())
    assert task.example_scores("end_accuracy", answer, batch) is None


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=8)
    one, same, other = (DyckTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).targets, one.train_batch(8).targets)
    assert not torch.equal(one.train_batch(7).targets, other.train_batch(7).targets)
    assert (one.train_batch(0).inputs != OPEN).any()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"expand": 0.0}, "expand is 0.0"),
        ({"expand": 0.5}, "expand is 0.5"),
        ({"expand": float("nan")}, "expand is nan"),
        ({"pairs": 0}, "pairs is 0"),
        ({"pairs": 10**9}, "pairs is 1000000000"),
        ({"evaluation_size": -1}, "evaluation_size is -1"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message) as refusal:
        DyckTask(**setting)
    assert "\n" not in str(refusal.value)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'pda'; it has optimal, ngram, unigram"):
        DyckTask(evaluation_size=2).baseline("pda")

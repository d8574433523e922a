"""The next-symbol task against its definition, and its baselines against counting over the text as a string."""

import math
from collections import Counter
from itertools import product

import pytest
import torch
from rnnae_tasks.next_symbol.datamodule import NextSymbolTask
from scipy.stats import entropy

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

VARIANTS = [*NextSymbolTask.card().variants]


def spelt(task, tokens):
    return "".join(task.alphabet[token] for token in tokens.tolist())


def continuations(text, context):
    """How often each symbol follows a context in the text that repeats."""
    around = text * (2 + len(context) // len(text))
    return Counter(around[start + len(context)] for start in range(len(text)) if around.startswith(context, start))


def test_a_row_is_the_drawn_example():
    task = NextSymbolTask(text="HELLO", length=5)
    inputs, targets = task.evaluation_set("test").rows(slice(1, 2))[:2]
    assert (spelt(task, inputs[0]), spelt(task, targets[0])) == ("ELLOH", "LLOHE")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_is_a_piece_of_the_repeated_text(variant):
    task = NextSymbolTask.from_variant(variant)
    around = task.text * (3 + task.length // len(task.text))
    test, validation, train = task.evaluation_set("test"), task.evaluation_set("validation"), task.train_batch(3)
    assert len(test.targets) == len(task.text)
    for start, (read, said) in enumerate(zip(test.inputs, test.targets, strict=True)):
        assert spelt(task, read) == around[start : start + task.length]
        assert spelt(task, said) == around[start + 1 : start + 1 + task.length]
    assert torch.equal(validation.inputs, test.inputs.flip(0))
    assert all(spelt(task, row) in around for row in train.inputs)


def test_the_long_texts_are_de_bruijn_sequences():
    for variant, order in (("standard", 6), ("long", 8)):
        text = NextSymbolTask.from_variant(variant).text
        words = {(text * 2)[start : start + order] for start in range(len(text))}
        assert words == {"".join(word) for word in product("01", repeat=order)}
        assert len(text) == 2**order


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_needed_lag_is_that_of_the_shortest_context_that_always_tells(variant):
    text = NextSymbolTask.from_variant(variant).text
    lag = NextSymbolTask.card().variant(variant).needed_lag
    contexts = {(text * 2)[start : start + lag + 1] for start in range(len(text))}
    assert all(len(continuations(text, context)) == 1 for context in contexts)
    shorter = {context[1:] for context in contexts}
    assert any(len(continuations(text, context)) > 1 for context in shorter)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines_are_entropies_by_counting_strings(variant, agrees):
    task = NextSymbolTask.from_variant(variant)
    text, label = task.text, f"next_symbol:{variant}"
    shares = Counter(text)
    agrees(label, "unigram", "bits_per_symbol", entropy([*shares.values()], base=2), "scipy's entropy", within=1e-6)
    agrees(label, "unigram", "accuracy", max(shares.values()) / len(text), "largest share")
    bits, right = 0.0, 0.0
    for symbol, count in shares.items():
        after = continuations(text, symbol)
        bits += count / len(text) * entropy([*after.values()], base=2)
        right += max(after.values()) / len(text)
    agrees(label, "bigram", "bits_per_symbol", bits, "conditional entropy of strings", within=1e-6)
    agrees(label, "bigram", "accuracy", right, "counting strings")
    costs, hits = [], []
    for length in range(1, task.length + 1):
        around = text * (2 + length // len(text))
        for context in {around[start : start + length] for start in range(len(text))}:
            after = continuations(text, context)
            costs.append(after.total() * entropy([*after.values()], base=2))
            hits.append(max(after.values()))
    steps = task.length * len(text)
    agrees(label, "optimum", "bits_per_symbol", math.fsum(costs) / steps, "entropy after each prefix", within=1e-6)
    agrees(label, "optimum", "accuracy", sum(hits) / steps, "likeliest after each prefix")


def test_the_optimum_of_a_de_bruijn_sequence_is_its_closed_form():
    for variant, order in (("standard", 6), ("long", 8)):
        task = NextSymbolTask.from_variant(variant)
        assert task.baseline("optimum")["bits_per_symbol"] == pytest.approx((order - 1) / task.length)


def test_example_scores_are_shares_of_the_metrics():
    task = NextSymbolTask.from_variant("standard")
    batch, logits = task.evaluation_set("test"), torch.randn(64, 24, 2)
    metrics = task.metrics()
    metrics.update(logits, batch.targets)
    for name, value in metrics.compute().items():
        assert task.example_scores(name, logits, batch).mean().item() == pytest.approx(value.item(), rel=1e-5)
    assert task.example_scores("loss", logits, batch) is None


def test_training_batches_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=8)
    one, other = NextSymbolTask(protocol=protocol), NextSymbolTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, NextSymbolTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)


@pytest.mark.parametrize("setting", [{"text": ""}, {"text": "aaa"}, {"length": 0}, {"length": -3}])
def test_bad_settings_are_refused_by_name_and_value(setting):
    ((name, value),) = setting.items()
    with pytest.raises(UserError, match=f"{name} is {value!r}"):
        NextSymbolTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="unigram, bigram, optimum"):
        NextSymbolTask().baseline("trigram")

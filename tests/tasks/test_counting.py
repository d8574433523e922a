"""Counting languages against their definition, the source's cross-entropies, and an n-gram smoothed another way."""

import math
from collections import Counter

import pytest
import torch
from rnnae_tasks.counting.datamodule import CountingTask
from rnnae_tasks.counting.languages import LANGUAGES
from rnnae_tasks.counting.ngram import Interpolated
from scipy.stats import chisquare, geom

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

TEXTS = {
    "anbn": lambda n: "a" * n + "b" * n,
    "anbncn": lambda n: "a" * n + "b" * n + "c" * n,
    "anbncndn": lambda n: "a" * n + "b" * n + "c" * n + "d" * n,
    "anb2n": lambda n: "a" * n + "b" * 2 * n,
    "anbmcnm": lambda n, m: "a" * n + "b" * m + "c" * (n + m),
}
VARIANTS = [*CountingTask.card().variants]


@pytest.mark.parametrize("language", LANGUAGES)
def test_rows_are_the_strings_of_the_definition(language):
    task = CountingTask(language, max_size=5)
    sizes = task.sizes_of("test")
    batch = task.evaluation_set("test")
    for size, inputs, targets, length in zip(sizes.tolist(), *map(torch.Tensor.tolist, batch[:3]), strict=True):
        text = TEXTS[language](*size)
        assert "".join("#abcd"[one] for one in inputs[:length]) == "#" + text
        assert "".join("#abcd"[one] for one in targets[:length]) == text + "#"
        assert not any(inputs[length:] + targets[length:])
    assert {tuple(size) for size in sizes.tolist()} == {
        (n,) if sizes.shape[1] == 1 else (n, m) for n in range(6, 11) for m in range(6, 11)
    }
    assert task.spec.inputs.length == batch.inputs.shape[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_all_continuations_agree_the_next_symbol_is_certain(language):
    """By brute force: what can follow each beginning, over all strings of small sizes."""
    sizes = [(n,) if language != "anbmcnm" else (n, m) for n in range(1, 12) for m in range(1, 12)]
    texts = {"#" + TEXTS[language](*size) + "#" for size in sizes}
    follows: dict[str, set[str]] = {}
    for text in texts:
        for place in range(1, len(text)):
            follows.setdefault(text[:place], set()).add(text[place])
    grammar = LANGUAGES[language]
    for text in ["#" + TEXTS[language](*((3,) if language != "anbmcnm" else (3, 2)))]:
        certain = grammar.certain(torch.tensor([["#abcd".index(one) for one in text]]))[0]
        assert certain.tolist() == [len(follows[text[: place + 1]]) == 1 for place in range(len(text))]


def test_sizes_are_geometric_up_to_the_largest():
    task = CountingTask(max_size=8, protocol=Protocol(batch_size=5000))
    sizes = (task.train_batch(0).lengths - 1) // 2
    expected = geom(0.3).pmf(range(1, 9))
    assert chisquare(torch.bincount(sizes, minlength=9)[1:], expected / expected.sum() * 5000).pvalue > 0.001


@pytest.mark.parametrize(
    ("language", "published"),
    [("anbn", 0.258), ("anbncn", 0.172), ("anbncndn", 0.129), ("anb2n", 0.172), ("anbmcnm", 0.269)],
)
def test_the_optimal_cross_entropies_of_the_source(language, published):
    """Its test sets follow the largest size of 500 training strings (20; 22 of n and m), which hang on its seed."""
    grammar = LANGUAGES[language]
    one = torch.arange(21, 1021)[:, None]
    two = torch.cartesian_prod(torch.arange(23, 72), torch.arange(23, 72))
    sizes = one if grammar.sizes == 1 else two
    bits = (grammar.bits(sizes).sum() / grammar.steps(sizes).sum()).item()
    assert bits == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_optimum_is_what_scipys_geometric_distribution_costs(variant, agrees):
    task = CountingTask.from_variant(variant)
    sizes = task.sizes_of("test").tolist()
    cost = -sum(geom(0.3).logpmf(size).sum() for size in sizes) / math.log(2)
    symbols = sum(len(TEXTS[task.language](*size)) + 1 for size in sizes)
    label = f"counting:{variant}"
    agrees(label, "optimal", "bits", cost / symbols, "scipy's geometric distribution")
    agrees(label, "optimal", "certain_accuracy", 1, "by definition")
    agrees(label, "optimal", "longest_size", 4 * task.max_size, "the longest set")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_unigram_and_the_ngram_counted_on_the_training_stream(variant, agrees):
    """Counts of real training strings, in place of expected ones."""
    task = CountingTask.from_variant(variant)
    protocol = task.protocol
    seen: Counter[tuple[int, ...]] = Counter()
    for step in range(300):
        batch = task.train_batch(step)
        seen.update(
            (*row[:length], 0) for row, length in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)
        )
    test, symbols = task.evaluation_set("test"), task.grammar.symbols
    rows = [[*row[:n], 0] for row, n in zip(test.inputs.tolist(), test.lengths.tolist(), strict=True)]
    total = test.lengths.sum().item()
    weights = [count * protocol.max_steps / 300 for count in seen.values()]
    found = {
        order: sum(map(Interpolated([*seen], weights, symbols, order).bits, rows)) / total for order in range(1, 9)
    }
    shares: Counter[int] = Counter()
    for string, weight in zip(seen, weights, strict=True):
        for symbol in string[1:]:
            shares[symbol] += weight
    plain = -sum(math.log2(shares[symbol] / shares.total()) for row in rows for symbol in row[1:]) / total
    assert found[1] == pytest.approx(plain, rel=0.01)
    agrees(
        f"counting:{variant}", "unigram", "bits", plain, "shares counted on a tenth of the training stream", rel=0.02
    )
    agrees(f"counting:{variant}", "ngram", "bits", min(found.values()), "counted on 300 batches", rel=0.1)


def test_the_smoothing_by_hand():
    """After a: two a, one b; of all, three symbols with 2, 2 and 1."""
    model = Interpolated([[0, 1, 1, 1, 2], [0, 2]], [1.0, 1.0], 3, 2)
    one = (3 + 2 / 3) / (5 + 2)
    assert model.chance((), 1) == pytest.approx(one)
    assert model.chance((1,), 1) == pytest.approx((2 + 2 * one) / (3 + 2))
    assert model.chance((2,), 1) == pytest.approx(one)  # never seen
    assert sum(model.chance((1,), symbol) for symbol in range(3)) == pytest.approx(1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_player_that_counts_reaches_the_optimum(language):
    task = CountingTask(language, max_size=3)
    batch = task.evaluation_set("test")
    chances = torch.zeros(*batch.targets.shape, task.grammar.symbols, dtype=torch.float64)
    chances.scatter_(-1, batch.targets.unsqueeze(-1), 1.0)
    for letter in range(1, task.grammar.sizes + 1):  # grows on with 0.7, goes on to the next letter with 0.3
        at = batch.inputs == letter
        chances[at] = 0
        chances[..., letter][at] = 0.7
        chances[..., letter + 1][at] = 0.3
    metrics = task.metrics()
    update_metrics(metrics, chances.clamp(min=1e-30).log(), batch)
    found = {name: value.item() for name, value in metrics.compute().items()}
    optimal = task.baseline("optimal")
    assert found == pytest.approx({name: optimal[name] for name in found})
    assert task.over_sets({"test": found, "test@4x": found}) == {"longest_size": 12}
    assert task.over_sets({"test": found, "test@4x": {**found, "certain_accuracy": 0.99}}) == {"longest_size": 6}
    scores = task.example_scores("bits", chances.clamp(min=1e-30).log(), batch)
    assert scores.mean().item() == pytest.approx(optimal["bits"])


@pytest.mark.parametrize("setting", [{"language": "anan"}, {"max_size": 0}, {"evaluation_size": -1}], ids=str)
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=rf"{next(iter(setting))} is '?{next(iter(setting.values()))}"):
        CountingTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'coin'; it has optimal, ngram, unigram"):
        CountingTask().baseline("coin")

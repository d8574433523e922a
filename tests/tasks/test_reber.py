"""The Reber task: its automaton against the grammar as a text pattern, its optimum, its n-grams and its baselines."""

import itertools
import re
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import reber
from rnnae_tasks.reber.datamodule import ReberTask
from rnnae_tasks.reber.grammar import CHANCES, REPEATING, STATES, SYMBOLS, follow, optimum
from rnnae_tasks.reber.ngram import ngram_chances
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = [*ReberTask.card().variants]
README = Path(reber.__file__).with_name("README.md").read_text("utf-8")


def text(places):
    return "".join(SYMBOLS[place] for place in places)


def ways(string):
    """Reber's graph, walked by hand: the symbols that may come after a beginning of an embedded string."""
    graph = {
        0: {"B": 1},
        1: {"T": 2, "P": 3},
        2: {"S": 2, "X": 4},
        3: {"T": 3, "V": 5},
        4: {"X": 3, "S": 6},
        5: {"P": 4, "V": 6},
        6: {"E": 7},
    }
    if len(string) < 2:
        return {"B"} if not string else {"T", "P"}
    node, rest = 0, string[2:]
    for place, symbol in enumerate(rest):
        if node == 7:
            return {"E"} if place == len(rest) - 1 else {"B"}
        node = graph[node][symbol]
    return {string[1]} if node == 7 else set(graph[node])


def test_strings_are_those_of_the_graph():
    batch = ReberTask(evaluation_size=300).evaluation_set("test")
    for inputs, targets, length in zip(batch.inputs, batch.targets, batch.lengths.tolist(), strict=True):
        string = "B" + text(targets[:length])
        assert string[:-1] == text(inputs[:length])
        for step in range(1, len(string)):
            assert string[step] in ways(string[:step])
        if length < 50:
            assert re.fullmatch(r"B([TP])B.*E\1E", string)
    assert batch.lengths.min() >= 7


def test_both_ways_are_alike_and_states_know_what_may_come():
    batch = ReberTask(evaluation_size=4000).evaluation_set("test")
    states, seen = follow(batch.inputs), torch.zeros(STATES, len(SYMBOLS))
    counted = torch.arange(50) < batch.lengths.unsqueeze(1)
    seen.index_put_((states[counted], batch.targets[counted]), torch.tensor(1.0), accumulate=True)
    for state, counts in enumerate(seen):
        if counts.sum():
            may_come = CHANCES[state] > 0
            assert not counts[~may_come].any()
            assert may_come.sum() == 1 or chisquare(counts[may_come]).pvalue > 1e-4


@pytest.mark.parametrize("shown", [ReberTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_the_first_test_row(shown):
    batch = ReberTask().evaluation_set("test")
    length = int(batch.lengths[0])
    assert "input    " + " ".join(text(batch.inputs[0, :length])) in shown
    assert "target   " + " ".join(text(batch.targets[0, :length])) in shown


def test_the_needed_lag_is_at_least_that_of_the_shortest_strings():
    """The symbol comes again behind the inner string, of five symbols at least."""
    batch = ReberTask(evaluation_size=1000).evaluation_set("test")
    lags = [
        length - 2 for length, row in zip(batch.lengths.tolist(), batch.targets, strict=True) if row[length - 1] == 6
    ]
    assert min(lags) == 6 - 1 + 1
    for variant in ReberTask.card().variants.values():
        assert min(lags) <= variant.needed_lag <= np.mean(lags)


def test_the_optimum_is_seven_bits_in_eleven_symbols():
    """Of a string without an end to its length, by exact fractions: expected bits over expected symbols."""
    # Visits of the inner graph's nodes 1 to 6 by v = e + P v, solved by elimination.
    moves = {1: (2, 3), 2: (2, 4), 3: (3, 5), 4: (3, 6), 5: (4, 6), 6: ()}
    size = 6
    rows = [[Fraction(int(i == j)) for j in range(size)] + [Fraction(int(i == 0))] for i in range(size)]
    for node, following in moves.items():
        for one in following:
            rows[one - 1][node - 1] -= Fraction(1, 2)
    for pivot in range(size):
        place = next(row for row in range(pivot, size) if rows[row][pivot])
        rows[pivot], rows[place] = rows[place], rows[pivot]
        rows[pivot] = [value / rows[pivot][pivot] for value in rows[pivot]]
        for other in range(size):
            if other != pivot:
                factor = rows[other][pivot]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[pivot], strict=True)]
    visits = [row[-1] for row in rows]
    bits = 1 + sum(visits[:5])
    symbols = 1 + 1 + sum(visits) + 2  # T or P; B; those of the nodes; T or P again; E
    assert bits / symbols == Fraction(7, 11)
    assert optimum(3000, continual=False) == pytest.approx(7 / 11, rel=1e-9)
    # In a stream, the B of the next string too.
    assert optimum(20_000, continual=True) == pytest.approx(float(bits / (symbols + 1)), rel=1e-3)


def test_ngrams_are_those_of_dictionaries():
    task = ReberTask(evaluation_size=20, length=20)
    counted_text, asked = task.strings(60, task.generator("any")), task.evaluation_set("test")
    within = torch.arange(20) < counted_text.lengths.unsqueeze(1)
    found = ngram_chances(counted_text.inputs, counted_text.targets, within, asked.inputs, longest=4)
    counts = defaultdict(Counter)
    for inputs, targets, length in zip(*(one.tolist() for one in counted_text[:3]), strict=True):
        for step in range(length):
            for size in range(5):
                counts[(size, tuple(([None] * 5 + inputs[: step + 1])[-size:]) if size else ())][targets[step]] += 1
    for row, inputs in enumerate(asked.inputs.tolist()):
        for step in range(20):
            chances = np.full(7, 1 / 7)
            for size in range(5):
                context = tuple(([None] * 5 + inputs[: step + 1])[-size:]) if size else ()
                seen = counts.get((size, context))
                if seen:
                    times = np.array([seen[symbol] for symbol in range(7)])
                    chances = (times + len(seen) * chances) / (times.sum() + len(seen))
            np.testing.assert_allclose(found[row, step], chances, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines(variant, agrees):
    """From the symbols of the test rows, walked through the graph by hand; n-grams see `test_ngrams`."""
    task = ReberTask.from_variant(variant)
    batch, label = task.evaluation_set("test"), f"reber:{variant}"
    rows = 60 if variant == "long" else len(batch.targets)
    costs, forgetful, steps = 0.0, 0.0, 0
    states = follow(batch.inputs[:rows]).tolist()
    may = {state: (CHANCES[state] > 0).sum().item() for state in range(STATES)}
    for row in range(rows):
        length = task.length if batch.lengths is None else int(batch.lengths[row])
        for state in states[row][:length]:
            costs += may[state] - 1
            forgetful += 1 if state in REPEATING else may[state] - 1
        steps += length
    close = {"within": 0.004} if variant == "long" else {"rel": 1e-5}
    agrees(label, "optimal", "bits", costs / steps, "choices counted along the graph", **close)
    agrees(label, "forgetful", "bits", forgetful / steps, "choices counted along the graph", **close)
    expected = optimum(task.length, task.continual)
    agrees(label, "optimal", "bits", expected, "expected, by linear algebra", within=0.006)
    for metric in ("legal_accuracy", "repeat_accuracy"):
        agrees(label, "optimal", metric, 1.0, "by definition")
    agrees(label, "forgetful", "repeat_accuracy", 0.5, "a coin", within=0.05)
    if variant != "long":
        found = task.baseline("ngram")
        for metric, value in found.items():
            agrees(label, "ngram", metric, value, "counts, held to dictionaries of strings")


def test_streams_go_on_where_they_ended():
    protocol = Protocol(batch_size=3)
    task = ReberTask(continual=True, length=12, protocol=protocol)
    batches = [task.train_batch(step) for step in range(4)]
    for before, after in itertools.pairwise(batches):
        assert torch.equal(before.targets[:, -1], after.inputs[:, 0])
    assert torch.equal(ReberTask(continual=True, length=12, protocol=protocol).train_batch(3).inputs, batches[3].inputs)
    assert torch.equal(task.train_batch(1).inputs, batches[1].inputs)
    whole = "".join(text(batch.targets[0]) for batch in batches)
    strings = ("B" + whole).split("EB")
    assert all(re.fullmatch(r"B?([TP])B.*", string) for string in strings if len(string) > 2)


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (ReberTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).targets, one.train_batch(8).targets)
    assert not torch.equal(one.train_batch(7).targets, other.train_batch(7).targets)


def test_who_knows_the_grammar_has_all_right():
    task = ReberTask(evaluation_size=50)
    metrics, batch = task.metrics(), task.evaluation_set("test")
    answer = task.baseline_answer("optimal")
    update_metrics(metrics, answer, batch)
    found = metrics.compute()
    assert found["legal_accuracy"] == found["repeat_accuracy"] == 1
    for metric in ("bits", "legal_accuracy"):
        assert task.example_scores(metric, answer, batch).mean().item() == pytest.approx(found[metric].item())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"length": 7}, "length is 7"),
        ({"length": -1}, "length is -1"),
        ({"evaluation_size": 0}, "evaluation_size is 0"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message):
        ReberTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'hmm'; it has optimal, forgetful, ngram"):
        ReberTask(evaluation_size=2).baseline("hmm")

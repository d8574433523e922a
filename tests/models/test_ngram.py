"""n-grams: against dictionaries, the names task's own counts, and in half precision."""

from collections import Counter, defaultdict

import pytest
import torch
from rnnae_tasks.charlm.datamodule import CharLMTask
from rnnae_tasks.names.datamodule import NamesTask
from torch.nn.functional import cross_entropy

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.ngram import STRENGTHS, NGram

WORDS = TaskSpec("words", Tokens(5, 7), Classes(4), "every step", causal=True)


def letters():
    return CharLMTask(length=30, characters=20_000, protocol=Protocol(max_steps=5, batch_size=8))


def by_dictionaries(task, order, strength=1.0):
    """Witten and Bell's interpolation, counted in dictionaries; contexts go back to the beginning at most."""
    counts = defaultdict(Counter)
    for step in range(task.protocol.max_steps):
        batch = task.train_batch(step)
        for row, wanted in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            text = ["^", *row]
            for t, answer in enumerate(wanted):
                for length in range(min(order, t + 2) + 1):
                    counts[tuple(text[t + 2 - length : t + 2])][answer] += 1

    def chance(row, t, answer, length):
        if length < 0:
            return 1 / task.spec.outputs.count
        lower = chance(row, t, answer, length - 1)
        seen = counts[tuple(["^", *row][t + 2 - length : t + 2])] if length <= t + 2 else None
        if not seen:
            return lower
        weight = strength * len(seen)
        return (seen[answer] + weight * lower) / (seen.total() + weight)

    return chance


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_chances_are_those_of_dictionaries(strength):
    task = letters()
    model = NGram(task.spec, order=3, strength=strength)
    model.fit(task)
    chance, row = by_dictionaries(task, 3, strength), task.train_batch(7).inputs[:1, :10]
    found = model(row)[0].exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(10), atol=1e-4, rtol=0)
    for t in range(10):
        for answer in range(0, task.spec.outputs.count, 7):
            assert found[t, answer].item() == pytest.approx(chance(row[0].tolist(), t, answer, 3), rel=1e-4)


def test_of_contexts_that_share_a_slot_one_has_it_and_others_count_as_never_seen():
    task = letters()
    model = NGram(task.spec, order=2, slots=1000)
    model.fit(task)
    chance, rows, lost, kept = by_dictionaries(task, 2), task.train_batch(0).inputs, 0, 0
    found = model(rows).exp()
    for index, row in enumerate(rows.tolist()):
        for t in range(1, 30):
            long, short = (chance(row, t, 3, order) for order in (2, 1))
            is_long, is_short = (found[index, t, 3].item() == pytest.approx(one, rel=1e-4) for one in (long, short))
            assert is_long or is_short
            lost, kept = lost + (not is_long), kept + (not is_short)
    assert kept > lost > 0


def test_longer_contexts_tell_more():
    task = CharLMTask(length=100, protocol=Protocol(max_steps=60, batch_size=32))
    batch = task.evaluation_set("validation").rows(slice(0, 8))

    def bits(order):
        model = NGram(task.spec, order=order)
        model.fit(task)
        return cross_entropy(model(batch.inputs).transpose(1, 2), batch.targets).item()

    assert bits(4) < bits(2) < bits(1)


@pytest.fixture(scope="module")
def names():
    """Every name read once."""
    return NamesTask(protocol=Protocol(max_steps=1, batch_size=len(NamesTask().names("train"))))


def test_sequences_are_classified_as_by_the_counts_of_the_task(names):
    model = NGram(names.spec, order=4, slots=2**20, equal_priors=True)
    model.fit(names)
    batch = names.evaluation_set("validation")
    found = model(batch.inputs, batch.lengths).log_softmax(1)
    torch.testing.assert_close(found, names.witten_bell_logits("validation"), atol=1e-3, rtol=1e-4)


def test_classes_are_as_likely_before_as_they_came(names):
    equal, counted = (NGram(names.spec, order=2, equal_priors=one) for one in (True, False))
    for model in (equal, counted):
        model.fit(names)
    batch = names.evaluation_set("validation").rows(slice(0, 4))
    targets = Counter(names.train_batch(0).targets.tolist())
    came = torch.tensor([targets[language] + 1.0 for language in range(len(names.languages))])
    added = counted(batch.inputs, batch.lengths) - equal(batch.inputs, batch.lengths)
    torch.testing.assert_close(added, (came / came.sum()).log().expand_as(added), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", ["letters", "names"])
def test_a_strength_is_the_best_on_held_out_rows(task, names):
    task = letters() if task == "letters" else names
    held_out, errors = task.held_out(500), {}
    for strength in STRENGTHS:
        model = NGram(task.spec, order=2, strength=strength)
        model.fit(task)
        logits = model(held_out.inputs, held_out.lengths)
        errors[strength] = cross_entropy(logits.flatten(0, -2), held_out.targets.flatten()).item()
    chosen = NGram(task.spec, order=2, strength=None)
    chosen.fit(task)
    assert errors[chosen.strength.item()] == min(errors.values())


def test_an_epoch_more_is_undone_by_as_much_strength():
    sizes = {"batch_size": len(NamesTask().names("train"))}
    once, twice = (NamesTask(protocol=Protocol(max_steps=steps, **sizes)) for steps in (1, 2))
    one, two = NGram(once.spec, order=3), NGram(once.spec, order=3, strength=2.0)
    one.fit(once)
    two.fit(twice)
    batch = once.evaluation_set("validation").rows(slice(0, 50))
    chances = [model(batch.inputs, batch.lengths).log_softmax(1) for model in (one, two)]
    torch.testing.assert_close(*chances, atol=2e-2, rtol=0)


def test_counts_are_whole_numbers_beyond_what_single_precision_counts():
    task = letters()
    model = NGram(task.spec, order=1)
    model.counts(0).fill_(2**24)
    model.fit(task)
    answers = torch.cat([task.train_batch(step).targets.flatten() for step in range(5)])
    assert (model.counts(0)[0] - 2**24).tolist() == answers.bincount(minlength=task.spec.outputs.count).tolist()
    assert (model.counts(0)[0] - 2**24).max() > 1


@pytest.mark.parametrize("task", ["letters", "names"])
def test_half_precision_changes_neither_counts_nor_chances(task, names):
    task = letters() if task == "letters" else names
    whole, half = NGram(task.spec, order=2), NGram(task.spec, order=2).bfloat16()
    whole.fit(task)
    with torch.autocast("cpu", torch.bfloat16):
        half.fit(task)
        batch = task.held_out(8)
        found = half(batch.inputs, batch.lengths)
    assert found.dtype == torch.float32
    assert torch.equal(found, whole(batch.inputs, batch.lengths))
    for length in range(2):
        assert torch.equal(half.counts(length), whole.counts(length))


def test_what_is_refused():
    numbers = TaskSpec("numbers", Vectors(2, 9), Values(3), "every step", causal=True)
    assert "counts symbols" in NGram.supports(numbers)
    with pytest.raises(UserError, match="cannot serve task 'numbers'"):
        NGram(numbers)
    own = TaskSpec("own", Tokens(5, 7), Classes(4), "own length", causal=False, output_length=3)
    assert "a sequence of its own length" in NGram.supports(own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 0}, "order is 0"),
        ({"order": 65}, "order is 65; it must be at most 64"),
        ({"slots": 0}, "slots is 0"),
        ({"strength": 0.0}, r"strength is 0\.0"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        NGram(WORDS, **options)

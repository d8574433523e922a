"""The flip-flop task against its definition, its n-gram floor against one that is counted on the training stream."""

import math

import numpy as np
import pytest
import torch
from rnnae_tasks.flipflop.datamodule import IGNORE, PROBES, READ, WRITE, FlipFlopTask, longest_match
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

FACTOR = 0xD1B54A32D192ED03
"""Odd, and large: of a hash modulo 2^64."""
COIN = {"read_error": 0.5, "read_loss": math.log(2)}


def played(tokens: list[int]) -> list[int | None]:
    """What a memory of one bit answers after each token; None where it is not asked."""
    memory, answers = None, []
    for instruction, bit in zip(tokens[::2], [*tokens[1::2], None], strict=True):
        answers += [memory if instruction == READ else None, None]
        if instruction == WRITE:
            memory = bit
    return answers[:-1]


def test_the_drawn_row_is_one():
    names = {"w": WRITE, "i": IGNORE, "r": READ, "0": 0, "1": 1}
    row = [names[one] for one in "w1i0r1i0i1w0i1r"]
    assert [one for one in played(row) if one is not None] == [1, 0]
    assert played(row)[4] == 1
    assert played(row)[-1] == 0


@pytest.mark.parametrize("name", FlipFlopTask.evaluation_sets)
def test_read_bits_are_those_written_last(name):
    task = FlipFlopTask(length=40, evaluation_size=100)
    batch = task.evaluation_set(name)
    for tokens, target, asked in zip(*map(torch.Tensor.tolist, (batch.inputs, batch.targets, batch.mask)), strict=True):
        answers = played(tokens)
        assert asked == [one is not None for one in answers]
        assert [one for one, due in zip(target, asked, strict=True) if due] == [
            one for one in answers if one is not None
        ]
        assert tokens[0] == WRITE
        assert tokens[-1] == READ
        for place, token in enumerate(tokens[:-1]):
            if token == READ:  # its bit is an input of the next step
                assert tokens[place + 1] == answers[place]


@pytest.mark.parametrize("name", FlipFlopTask.evaluation_sets)
def test_instructions_and_free_bits_have_their_shares(name):
    task = FlipFlopTask(length=200, evaluation_size=500)
    ignore = PROBES.get(name, 0.8)
    batch = task.evaluation_set(name)
    between = batch.inputs[:, 2:-1:2].flatten()
    found = torch.bincount(between, minlength=5)[[WRITE, IGNORE, READ]]
    shares = np.array([(1 - ignore) / 2, ignore, (1 - ignore) / 2])
    assert chisquare(found, shares * len(between)).pvalue > 0.001
    free = batch.inputs[:, 1::2][batch.inputs[:, :-1:2] != READ]
    assert chisquare(torch.bincount(free)).pvalue > 0.001


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (FlipFlopTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


def contexts(batch) -> np.ndarray:
    """A code for what stands between each read and the last instruction that was not ignored, that one included."""
    tokens = batch.inputs.numpy().astype(np.uint64)
    rows, places = np.nonzero(tokens == READ)
    codes = np.ones(len(rows), np.uint64)
    open_ = np.ones(len(rows), bool)
    for back in range(1, tokens.shape[1] // 2 + 1):
        at = places - 2 * back
        open_ &= at >= 0
        instruction, bit = tokens[rows, at.clip(0)], tokens[rows, at.clip(0) + 1]
        # Odd factors, modulo 2^64: a hash.
        mixed = (codes * np.uint64(0x9E3779B97F4A7C15) + instruction * np.uint64(2) + bit) * np.uint64(
            0xD1B54A32D192ED03
        )
        codes = np.where(open_, mixed ^ (mixed >> np.uint64(29)), codes)
        open_ &= instruction == IGNORE
    return codes


@pytest.mark.parametrize("variant", ["smoke", "standard"])
def test_the_ngram_knows_what_was_counted_in_the_training(variant, agrees):
    protocol = FlipFlopTask.card().variant(variant).protocol
    task = FlipFlopTask.from_variant(variant)
    many = FlipFlopTask.from_variant(variant, evaluation_size=20_000)
    seen = np.unique(np.concatenate([contexts(task.train_batch(step)) for step in range(protocol.max_steps)]))
    codes = contexts(many.evaluation_set("test"))
    unknown = 1 - np.isin(codes, seen).mean()
    within = 4 * math.sqrt(unknown / len(codes)) + 0.01 * unknown
    agrees(f"flipflop:{variant}", "ngram", "read_error", unknown / 2, "counted on the training stream", within=within)
    method = "counted on the training stream"
    agrees(f"flipflop:{variant}", "ngram", "read_loss", unknown * math.log(2), method, within=2 * math.log(2) * within)


def test_the_ngram_of_long_is_its_formula_summed_read_by_read(agrees):
    """The expectation written out for each read and distance, with exact binomial chances in place of Poisson's."""
    instructions, ignore, sequences = 256, 0.8, 640_000
    write = read = (1 - ignore) / 2
    known: dict[tuple[int, str], float] = {}
    for j in range(1, instructions):
        asked = 1.0 if j == instructions - 1 else read
        for d in range(j - 1):
            known[d, "w"] = known.get((d, "w"), 0) + asked * ignore**d * write
            known[d, "r"] = known.get((d, "r"), 0) + asked * ignore**d * read
        known[j - 1, "w"] = known.get((j - 1, "w"), 0) + asked * ignore ** (j - 1)
    unknown = sum(k * (1 - k / 2 ** (d + 1) / 300) ** (sequences * 300) for (d, _), k in known.items())
    share = unknown / sum(known.values())
    agrees("flipflop:long", "ngram", "read_error", share / 2, "sum over reads and distances", rel=1e-3)
    agrees("flipflop:long", "ngram", "read_loss", share * math.log(2), "sum over reads and distances", rel=1e-3)


def test_an_ngram_that_counted_nothing_is_a_coin_and_one_that_counted_all_is_perfect():
    assert longest_match(32, 0.8, 0) == pytest.approx(1)
    assert longest_match(8, 0.5, 10**9) < 1e-12


@pytest.mark.parametrize("variant", [*FlipFlopTask.card().variants])
def test_the_other_floors(variant, agrees):
    task = FlipFlopTask.from_variant(variant)
    label, batch = f"flipflop:{variant}", task.evaluation_set("test")
    errors = asked = 0
    for tokens in batch.inputs.tolist():
        for place, answer in enumerate(played(tokens)):
            if answer is not None:
                asked += 1
                errors += tokens[place - 1] != answer
    agrees(label, "last_bit", "read_error", errors / asked, "a loop over the test set")
    between, reads = task.length // 2 - 2, (1 - task.ignore) / 2
    # Ignored just before, but for a read right after the first write; and of these half are wrong.
    expected = task.ignore / 2 * ((between - 1) * reads + 1) / (between * reads + 1)
    agrees(label, "last_bit", "read_error", expected, "closed form", within=4 * 0.5 / math.sqrt(asked))
    for metric, value in COIN.items():
        agrees(label, "coin", metric, value, "a fair bit")


def test_a_perfect_player_makes_no_error():
    task = FlipFlopTask(evaluation_size=50)
    batch = task.evaluation_set("test")
    logits = torch.zeros(*batch.targets.shape, 2)
    for row, tokens in enumerate(batch.inputs.tolist()):
        for place, answer in enumerate(played(tokens)):
            logits[row, place, answer or 0] = 50
    metrics = task.metrics()
    update_metrics(metrics, logits, batch)
    found = metrics.compute()
    assert found["read_error"] == 0
    assert found["read_loss"] < 1e-9
    wrong = torch.where(batch.mask[:, :, None], -logits, logits)
    metrics.reset()
    update_metrics(metrics, wrong, batch)
    assert metrics.compute()["read_error"] == 1
    assert task.loss(logits, batch).item() < 1e-6


def test_example_scores_average_to_the_error_where_rows_read_more_or_less():
    task = FlipFlopTask(evaluation_size=300)
    batch = task.evaluation_set("test")
    logits = torch.randn(*batch.targets.shape, 2, generator=torch.Generator().manual_seed(0))
    metrics = task.metrics()
    update_metrics(metrics, logits, batch)
    parts = (slice(0, 100), slice(100, 300))
    scores = torch.cat([task.example_scores("read_error", logits[rows], batch.rows(rows)) for rows in parts])
    assert scores.mean().item() == pytest.approx(metrics.compute()["read_error"].item(), rel=1e-5)


@pytest.mark.parametrize(
    "setting",
    [{"length": 2}, {"length": 7}, {"length": -4}, {"ignore": -0.1}, {"ignore": 1.0}, {"ignore": math.nan},
     {"evaluation_size": 0}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=rf"{next(iter(setting))} is {next(iter(setting.values()))}"):
        FlipFlopTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'majority'; it has coin, last_bit, ngram"):
        FlipFlopTask().baseline("majority")

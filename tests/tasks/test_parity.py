"""The parity task against its definition; its floor by exact enumeration of what some of the bits tell."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from rnnae_tasks.parity.datamodule import ParityTask
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = [*ParityTask.card().variants]


def odd(bits: list[int]) -> int:
    """By flipping, as the definition has it."""
    state = False
    for bit in bits:
        if bit:
            state = not state
    return int(state)


def test_the_drawn_row_is_one():
    bits = [0, 1, 1, 0, 1, 0, 0, 1]
    assert odd(bits) == 0
    assert [odd(bits[: step + 1]) for step in range(8)] == [0, 1, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("every_step", [False, True])
def test_targets_are_the_parity_of_the_bits_of_each_row(every_step):
    task = ParityTask(every_step=every_step, protocol=Protocol(batch_size=200))
    batch = task.train_batch(3)
    assert batch.lengths.min() == 3
    assert batch.lengths.max() == 40
    for bits, target, length in zip(batch.inputs.tolist(), batch.targets.tolist(), batch.lengths, strict=True):
        assert not any(bits[length:])
        wanted = [odd(bits[: step + 1]) for step in range(length)]
        assert target[:length] == wanted if every_step else target == wanted[-1]


def test_bits_and_lengths_are_uniform():
    task = ParityTask(protocol=Protocol(batch_size=8000))
    batch = task.train_batch(0)
    assert chisquare(torch.bincount(batch.lengths)[3:]).pvalue > 0.001
    bits = task.evaluation_set("test").inputs
    assert chisquare(torch.bincount(bits.flatten())).pvalue > 0.001
    pairs = bits[:, :-1] * 2 + bits[:, 1:]
    assert chisquare(torch.bincount(pairs[:, ::2].flatten())).pvalue > 0.001


def test_longer_sets_have_so_many_times_the_bits():
    task = ParityTask(evaluation_size=5)
    lengths = {name: task.evaluation_set(name).inputs.shape[1] for name in task.evaluation_sets}
    assert [*lengths.values()] == [40, 40, 80, 160, 320, 640]
    for name in task.evaluation_sets:
        assert task.evaluation_set(name).lengths.tolist() == [lengths[name]] * 5


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (ParityTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert one.train_batch(7).lengths.tolist() != one.train_batch(8).lengths.tolist()
    assert one.train_batch(7).lengths.tolist() != other.train_batch(7).lengths.tolist()
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)
    assert not torch.equal(one.evaluation_set("test").inputs, one.evaluation_set("validation").inputs)


def best_guess(length: int, seen: tuple[int, ...]) -> Fraction:
    """How often the better answer is right that knows only the bits at some places, over all sequences."""
    odds: dict[tuple[int, ...], list[int]] = {}
    for bits in itertools.product((0, 1), repeat=length):
        odds.setdefault(tuple(bits[place] for place in seen), [0, 0])[odd([*bits])] += 1
    return Fraction(sum(map(max, odds.values())), 2**length)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_proper_subset_of_the_bits_tells_anything(variant, agrees):
    task = ParityTask.from_variant(variant)
    rights = {
        best_guess(length, seen)
        for length in range(1, 8)
        for size in range(length)
        for seen in itertools.combinations(range(length), size)
    }
    assert rights == {Fraction(1, 2)}
    assert best_guess(6, tuple(range(6))) == 1
    label = f"parity:{variant}"
    agrees(label, "coin", "accuracy", 0.5, "enumeration: any of the bits but not all")
    agrees(label, "coin", "loss", math.log(2), "entropy of a fair bit")
    agrees(label, "coin", "longest_length", 0, "1/2 is below 0.99")
    if task.every_step:
        agrees(label, "coin", "step_accuracy", 0.5, "enumeration: any of the bits but not all")
        agrees(label, "coin", "step_loss", math.log(2), "entropy of a fair bit")


@pytest.mark.parametrize("every_step", [False, True])
def test_a_perfect_player_scores_one_and_a_coin_the_floor(every_step):
    task = ParityTask(every_step=every_step, evaluation_size=2000)
    batch = task.evaluation_set("test")
    perfect = task.metrics()
    update_metrics(perfect, torch.nn.functional.one_hot(batch.targets, 2).float() * 50, batch)
    found = {name: value.item() for name, value in perfect.compute().items()}
    assert found["accuracy"] == 1
    assert found["loss"] < 1e-6
    coin, noise = task.metrics(), torch.randn(*batch.targets.shape, 1, generator=torch.Generator().manual_seed(0))
    update_metrics(coin, torch.cat([noise, -noise], dim=-1) * 1e-4, batch)
    for metric, value in task.baseline("coin").items():
        if metric != "longest_length":
            assert coin.compute()[metric].item() == pytest.approx(value, abs=4 * 0.5 / math.sqrt(2000))


def test_a_slip_spoils_the_answer_that_is_scored_and_no_other():
    task = ParityTask(min_length=1, max_length=4, every_step=True, evaluation_size=2)
    batch = task.evaluation_set("test")
    answer = torch.nn.functional.one_hot(batch.targets, 2).float()
    answer[0, 1] = 1 - answer[0, 1]
    answer[1, 3] = 1 - answer[1, 3]
    metrics = task.metrics()
    update_metrics(metrics, answer, batch)
    assert metrics.compute()["accuracy"] == 0.5
    assert metrics.compute()["step_accuracy"] == 6 / 8
    assert task.example_scores("accuracy", answer, batch).tolist() == [1, 0]


def test_the_longest_length_is_that_of_the_sets():
    measured = {name: {"accuracy": 1.0} for name in ParityTask.evaluation_sets if name != "validation"}
    assert ParityTask().over_sets(measured) == {"longest_length": 640}
    assert ParityTask().over_sets({**measured, "test@4x": {"accuracy": 0.98}}) == {"longest_length": 80}


def test_the_needed_lag_is_from_the_first_bit_to_the_answer():
    for variant in ParityTask.card().variants.values():
        batch = ParityTask.from_variant(variant.name, evaluation_size=1).evaluation_set("test")
        assert batch.inputs.shape[1] - 1 == variant.needed_lag


@pytest.mark.parametrize(
    "setting", [{"min_length": 0}, {"max_length": 2}, {"max_length": -1}, {"evaluation_size": 0}], ids=str
)
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=rf"{next(iter(setting))} is {next(iter(setting.values()))}"):
        ParityTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'majority'; it has coin"):
        ParityTask().baseline("majority")

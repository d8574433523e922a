"""Precisions and devices compared, against scipy.stats, and by how often the interval is right."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from rnnae_bench.rankings import equivalence as subject
from rnnae_bench.rankings.equivalence import judge, margin
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from
from rnnae_bench.records.store import Store
from rnnae_bench.report.equivalence_tables import terminal
from rnnae_bench.statistics.paired import difference

FAILURE = {"message": "x", "step": 3, "traceback": None}


def compare(documents):
    """The comparison of records that are given as plain data."""
    return subject.compare(map(record_from, documents))


@pytest.fixture
def trial(make_document):
    """A function that makes a record of a layout, as plain data."""

    numbers = itertools.count()

    def make(value, seed=0, precision="32-true", devices=1, seconds=2.0, underflow=None, **changes):
        record = make_document(value, seed=seed, data_seed=seed, id=f"{next(numbers):016x}", **changes)
        record["environment"] |= {"precision": precision, "devices": devices}
        trainer = {"precision": precision, "devices": devices, "detect_anomaly": False}
        record["configuration"] = {**record["configuration"], "trainer": trainer}
        record["measures"] |= {"training_seconds": seconds, "gradient_underflow": underflow}
        return record

    return make


def test_differences_are_paired_and_their_interval_is_scipys(trial):
    random = np.random.default_rng(0)
    values = random.uniform(0.2, 0.9, size=8)
    others = values + random.normal(0.005, 0.01, size=8)
    records = [trial(float(value), seed) for seed, value in enumerate(values)]
    records += [trial(float(value), seed, "bf16-mixed") for seed, value in enumerate(others)]
    random.shuffle(records)
    reference, row = compare(records)
    test = stats.ttest_rel(others, values)
    expected = test.confidence_interval(0.95)
    assert row.difference == pytest.approx(np.mean(others - values))
    assert row.interval == pytest.approx((expected.low, expected.high))
    assert (reference.layout, reference.verdict, reference.difference) == ("32-true x1", "reference", 0.0)
    assert (row.layout, row.reference, row.seeds) == ("bf16-mixed x1", "32-true x1", 8)
    spread = np.sqrt((np.var(values, ddof=1) + np.var(others, ddof=1)) / 2)
    assert row.margin == pytest.approx(min(spread / 2, (np.mean(values) - 0.125) / 10))


@pytest.mark.parametrize("size", [2, 3, 10])
def test_the_interval_is_right_in_95_of_100_cases(size):
    random = np.random.default_rng(size)
    drawn = random.normal(0.3, 2.0, size=(4000, size))
    covered = [one.low <= 0.3 <= one.high for one in map(difference, drawn.tolist())]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.01, 0.01), "equivalent"),
        ((0.001, 0.015), "different"),
        ((-0.02, 0.02), "equivalent"),
        ((0.0, 0.0), "equivalent"),
        ((0.001, 0.03), "different"),
        ((-0.5, -0.4), "different"),
        ((-0.01, 0.03), "undecided"),
        ((-0.5, 0.5), "undecided"),
        (None, "undecided"),
    ],
)
def test_verdicts(interval, verdict):
    assert judge(interval, 0.02) == verdict


def test_the_margin_is_half_the_spread_or_a_tenth_of_the_lead_over_the_best_baseline():
    first, second = [0.5, 0.6, 0.7], [0.5, 0.6, 0.7]
    assert margin(first, second, [], "maximize") == pytest.approx(0.05)
    assert margin(first, second, [0.1, 0.4, 0.3], "maximize") == pytest.approx(0.02)
    assert margin(first, second, [0.9, 0.61], "minimize") == pytest.approx(0.001)
    assert margin(first, [0.6, 0.6, 0.6], [], "maximize") == pytest.approx(0.05 / 2**0.5)
    assert margin([0.5], [0.5], [0.1], "maximize") == margin([], [], [], "maximize") == 0


def test_a_difference_of_a_few_hundredths_of_the_spread_is_none(trial):
    values = [0.5 + 0.1 * seed for seed in range(5)]
    records = [trial(value, seed) for seed, value in enumerate(values)]
    noise = [0.002, -0.003, 0.001, -0.002, 0.003]
    records += [trial(value + noise[seed], seed, "bf16-mixed") for seed, value in enumerate(values)]
    assert compare(records)[1].verdict == "equivalent"


def test_copies_of_a_record_are_no_further_trials(trial):
    records = [trial(0.5 + 0.1 * seed, seed) for seed in range(3)]
    half = [trial(0.5 + 0.1 * seed, seed, "bf16-true") for seed in range(3)]
    (_, row), (_, again) = compare(records + half), compare((records + half) * 2)
    assert row == again


def _pairs_of(standing):
    """Pairs of entries, their comparison, and the verdict on equivalence that `judge` gives them."""
    by_key = {entry.key: list(entry.values.values()) for entry in standing.entries}
    for (first, second), found in standing.comparisons.items():
        span = margin(by_key[first], by_key[second], standing.baselines.values(), standing.direction)
        yield found, judge((found.difference.low, found.difference.high), span)


def test_no_two_that_ranks_tell_apart_are_equivalent(make_document):
    """In the committed records, and in random ones of all spreads and distances; some pairs of either kind occur."""
    committed = Store(Path(__file__).parents[2] / "leaderboards" / "records").read().records
    found = [one for standing in standings(committed) for one in _pairs_of(standing)]
    random = np.random.default_rng(0)
    for number in range(25):
        records = []
        for model in range(random.integers(2, 6)):
            center, spread = random.uniform(0.3, 0.4), 10 ** random.uniform(-5, -1)
            common = random.normal(0, 0.1, 5) if number % 2 else np.zeros(5)
            for seed in range(5):
                value = float(center * (number % 3 > 0) + common[seed] + spread * random.normal())
                identity = f"{len(records):016x}"
                records.append(record_from(make_document(value, seed=seed, model=f"m{model}", id=identity)))
        found += _pairs_of(standings(records)[0])
    told_apart = {verdict for one, verdict in found if one.verdict in ("better", "worse")}
    assert told_apart == {"different"}
    assert {verdict for one, verdict in found if one.verdict == "tied"} >= {"undecided"}


def test_one_seed_has_no_interval_and_says_so(trial):
    rows = compare([trial(0.5), trial(0.5, precision="64-true")])
    assert (rows[1].interval, rows[1].verdict, rows[1].seeds, rows[1].difference) == (None, "undecided", 1, 0.0)
    assert "one seed" in _shown(rows)


@pytest.mark.parametrize(
    ("layouts", "reference"),
    [
        ([("64-true", 1), ("32-true", 1), ("bf16-mixed", 1)], "32-true x1"),
        ([("32-true", 2), ("64-true", 4), ("64-true", 2)], "64-true x2"),
        ([("bf16-true", 1), ("bf16-mixed", 1), ("16-mixed", 2)], "16-mixed x2"),
        ([("transformer-engine", 1), ("bf16-true", 1)], "bf16-true x1"),
    ],
)
def test_the_reference_is_32_bits_on_one_device_or_the_most_precise(trial, layouts, reference):
    rows = compare(trial(0.5, precision=precision, devices=devices) for precision, devices in layouts)
    assert {row.reference for row in rows} == {reference}
    assert [row.verdict for row in rows].count("reference") == 1
    assert rows[0].layout == reference


def test_only_what_differs_in_nothing_else_is_compared(trial):
    wide = trial(0.6, precision="bf16-mixed")
    wide["configuration"]["model"] = {"hidden_size": 9}
    gpu = trial(0.6, precision="bf16-mixed")
    gpu["environment"]["accelerator"] = "cuda"
    strict = trial(0.6, precision="bf16-mixed")
    strict["configuration"]["trainer"]["detect_anomaly"] = True
    others = [trial(0.6, precision="bf16-mixed", **{key: "other"}) for key in ("task", "variant", "model")]
    assert compare([trial(0.5), wide, gpu, strict, *others]) == []
    unpaired = compare([trial(0.5, 0), trial(0.6, 1, "bf16-mixed")])
    assert (unpaired[1].seeds, unpaired[1].difference, unpaired[1].verdict) == (0, None, "undecided")


def test_speed_is_a_geometric_mean_over_seeds_under_the_same_conditions(trial):
    records = [trial(0.5, seed, seconds=seconds) for seed, seconds in enumerate((8.0, 3.0, 5.0, 7.0))]
    records += [trial(0.5, seed, devices=2, seconds=seconds) for seed, seconds in enumerate((2.0, 3.0, 5.0, 1.0))]
    records[6]["environment"]["threads"] = 2
    records[7]["environment"]["vectorized"] = {"members": 4, "seconds": 4.0}
    for record, memory in zip(records, (100, 100, 1, 1, 50, 200, 1, 1), strict=True):
        record["measures"]["peak_memory_bytes"] = memory
    _, row = compare(records)
    assert row.speed_up == pytest.approx(stats.gmean([4.0, 1.0]))
    assert row.memory == pytest.approx(stats.gmean([0.5, 2.0]))
    assert row.seeds == 4
    records[4]["environment"]["threads"] = records[5]["environment"]["threads"] = 3
    assert compare(records)[1].speed_up is None


def test_underflow_is_shown_beside_the_references(trial):
    records = [trial(0.5, underflow=0.1), trial(0.5, 1, underflow=0.3), trial(0.5, precision="16-mixed", underflow=0.7)]
    _, row = compare(records)
    assert (row.underflow, row.reference_underflow) == (pytest.approx(0.7), pytest.approx(0.2))
    assert "70.00%" in _shown([row])


def test_a_seed_that_diverges_here_alone_is_a_difference(trial):
    records = [trial(0.5 + 0.1 * seed, seed) for seed in range(4)]
    half = [trial(0.5 + 0.1 * seed, seed, "bf16-true") for seed in range(3)]
    assert compare(records + half)[1].verdict == "equivalent"
    diverged = trial(None, 3, "bf16-true", status="diverged", failure=FAILURE)
    row = compare([*records, *half, diverged])[1]
    assert (row.verdict, row.statuses, row.seeds) == ("different", {"ok": 3, "diverged": 1}, 3)
    assert "1 diverged" in _shown([row])
    records[3] = trial(None, 3, status="diverged", failure=FAILURE)
    assert compare([*records, *half, diverged])[1].verdict == "equivalent"


def test_what_was_skipped_is_a_row(trial):
    skipped = trial(None, precision="16-mixed", status="skipped", failure=FAILURE)
    _, row = compare([trial(0.5), skipped])
    assert (row.statuses, row.difference, row.verdict, row.speed_up) == ({"skipped": 1}, None, "undecided", None)


def test_a_row_is_plain_data(trial):
    overrides = {"model.hidden_size": 9, "trainer.precision": "bf16-mixed"}
    rows = compare([trial(0.5), trial(0.6, precision="bf16-mixed", overrides=overrides)])
    assert json.loads(json.dumps(rows[1].as_dict()))["verdict"] == "undecided"
    assert rows[1].setting == "copy:standard gru[hidden_size=9]"


def _shown(rows):
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as capture:
        for table in terminal(rows):
            console.print(table)
    return capture.get()

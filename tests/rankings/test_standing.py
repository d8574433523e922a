"""Standings: ranks as intervals, failures as the floor, overall scores that nobody gains by leaving out a task."""

import itertools

import numpy as np
import pytest
from scipy import stats

from rnnae_bench.rankings import standing as subject
from rnnae_bench.rankings.overview import overview
from rnnae_bench.rankings.standing import compare
from rnnae_bench.records.document import record_from
from rnnae_bench.statistics.family import family

FAILURE = {"message": "x", "step": 3, "traceback": None}


def standings(documents, **options):
    """The standings of records that are given as plain data."""
    return subject.standings(map(record_from, documents), **options)


@pytest.fixture
def make_trials(make_document):
    """A function that makes a record as plain data for each value, by seed; None for one that diverged."""
    numbers = itertools.count()

    def make(model, values, task="copy", overrides=None, first_seed=0, **environment):
        found = []
        for seed, value in enumerate(values, first_seed):
            record = make_document(value, model=model, task=task, seed=seed, id=f"{next(numbers):016x}")
            if value is None:
                record |= {"status": "diverged", "failure": FAILURE}
            record["overrides"] = overrides or {}
            record["configuration"]["model"] = {
                name.removeprefix("model."): one for name, one in record["overrides"].items()
            }
            record["environment"] |= environment
            found.append(record)
        return found

    return make


def spread(center, width=0.01, count=5, seed=0):
    return (center + width * np.random.default_rng(seed).normal(size=count)).tolist()


def by_key(standing):
    return {entry.key: entry for entry in standing.entries}


def test_ranks_are_intervals_of_what_the_tests_leave_open(make_trials):
    values = {"a": spread(0.9, seed=1), "b": spread(0.895, seed=2), "c": spread(0.3, seed=3), "d": spread(0.31, seed=4)}
    (standing,) = standings([record for model, one in values.items() for record in make_trials(model, one)])
    pairs = list(itertools.combinations([entry.key for entry in standing.entries], 2))
    p = [stats.ttest_rel(values[first], values[second]).pvalue for first, second in pairs]
    differences = [np.subtract(values[first], values[second]).tolist() for first, second in pairs]
    together = family(differences, 4)
    assert list(standing.comparisons) == pairs
    for pair, one, expected in zip(pairs, p, together.corrected(differences), strict=True):
        assert standing.comparisons[pair].p == pytest.approx(max(one, 2 / 4**5))
        assert standing.comparisons[pair].corrected == pytest.approx(expected)
        assert standing.comparisons[pair].verdict == ("better" if expected <= 0.05 else "tied")
    assert {entry.key: entry.ranks for entry in standing.entries} == {
        "a": (1, 2),
        "b": (1, 2),
        "c": (3, 4),
        "d": (3, 4),
    }
    assert standing.comparisons["a", "b"].more_seeds > 0
    assert standing.comparisons["a", "c"].more_seeds == 0
    assert (standing.seeds, standing.smallest) == (5, pytest.approx(together.smallest(5, 0.05)))


def test_smaller_is_better_where_the_metric_says_so(make_trials):
    records = make_trials("a", spread(0.3, seed=1)) + make_trials("b", spread(0.6, seed=2))
    for record in records:
        record["primary"] |= {"direction": "minimize", "floor": 1.0, "ceiling": 0.0}
    (standing,) = standings(records)
    found = standing.comparisons["a", "b"]
    assert [entry.key for entry in standing.entries] == ["a", "b"]
    assert (found.verdict, found.superiority.value) == ("better", 1.0)
    assert found.difference.value == pytest.approx(-0.3, abs=0.02)
    best = standing.entries[0]
    assert best.score.value == pytest.approx(1 - best.mean.value)
    assert (best.score.low, best.score.high) == pytest.approx((1 - best.mean.high, 1 - best.mean.low))


@pytest.mark.parametrize(("others", "counted"), [([0.5] * 5, 0.125), ([0.5, 0.5, 0.02, 0.5, 0.5], 0.02)])
def test_a_failed_trial_counts_as_the_worst_that_finished_or_the_floor_and_is_named(make_trials, others, counted):
    (standing,) = standings(make_trials("a", [0.9, None, 0.9, 0.9, 0.9]) + make_trials("b", others))
    entry = by_key(standing)["a"]
    assert entry.values == {0: 0.9, 1: counted, 2: 0.9, 3: 0.9, 4: 0.9}
    assert entry.failed == (1,)
    assert entry.mean.value == pytest.approx(np.mean([0.9] * 4 + [counted]))
    assert entry.unranked is None


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_to_crash_is_never_above_to_finish(make_trials, direction):
    """A model that is worse than the floor under every seed is above one that crashed under every seed."""
    worse = [0.1, 0.05, 0.08, 0.02, 0.07] if direction == "maximize" else [1.1, 1.2, 1.3, 1.1, 1.4]
    records = make_trials("crashes", [None] * 5) + make_trials("finishes", worse)
    for record in records:
        record["primary"] |= {"direction": direction, "floor": 0.125 if direction == "maximize" else 1.0}
        record["primary"]["ceiling"] = 1.0 if direction == "maximize" else 0.0
    (standing,) = standings(records)
    assert [entry.key for entry in standing.entries] == ["finishes", "crashes"]
    assert standing.comparisons["finishes", "crashes"].verdict in ("better", "tied")
    failed, done = standing.entries[1].values, standing.entries[0].values
    assert all(failed[seed] <= done[seed] if direction == "maximize" else failed[seed] >= done[seed] for seed in done)


@pytest.mark.parametrize("models", [2, 8, 30])
def test_one_that_always_solves_it_is_first_of_any_number_that_always_fail(make_trials, models):
    for moved in (0.0, 1e-9):
        records = make_trials("best", [1.0] * 5)
        records += [one for index in range(1, models) for one in make_trials(f"m{index}", [None] * 5)]
        records[4]["primary"]["value"] -= moved
        (standing,) = standings(records)
        assert standing.entries[0].ranks == (1, 1)
        assert {entry.ranks for entry in standing.entries[1:]} == {(2, models)}
        assert {str(entry.score.value) for entry in standing.entries[1:]} == {"0.0"}


@pytest.mark.parametrize("status", ["skipped", "interrupted"])
def test_what_was_not_tried_does_not_count(make_trials, status):
    records = make_trials("a", [0.9] * 5)
    records[3]["status"] = status
    (standing,) = standings(records)
    assert sorted(standing.entries[0].values) == [0, 1, 2, 4]
    assert standing.entries[0].unranked == "4 of 5 seeds"


def test_an_entry_of_which_nothing_is_known_is_shown_all_the_same(make_trials):
    records = make_trials("a", [0.9] * 5) + make_trials("b", [None])
    records[-1]["status"] = "skipped"
    (standing,) = standings(records)
    last = standing.entries[-1]
    assert (last.key, last.mean, last.score, last.unranked) == ("b", None, None, "0 of 5 seeds")
    assert standing.comparisons["a", "b"].difference is None


def test_too_few_seeds_have_no_rank_and_take_none_from_others(make_trials):
    records = make_trials("a", spread(0.9)) + make_trials("b", spread(0.5, seed=1)) + make_trials("c", [0.99] * 4)
    (standing,) = standings(records)
    assert [(entry.key, entry.ranks) for entry in standing.entries] == [("a", (1, 1)), ("b", (2, 2)), ("c", None)]
    found = standing.comparisons["a", "c"]
    assert (found.seeds, found.verdict, found.corrected) == (4, "too few seeds", None)
    assert standings(records, minimum_seeds=4)[0].entries[0].key == "c"


def test_entries_without_common_seeds_are_not_told_apart(make_trials):
    records = make_trials("a", spread(0.9)) + make_trials("b", spread(0.2, seed=1), first_seed=5)
    (standing,) = standings(records)
    assert [entry.ranks for entry in standing.entries] == [(1, 2), (1, 2)]
    found = standing.comparisons["a", "b"]
    assert (found.seeds, found.difference, found.p, found.verdict) == (0, None, None, "too few seeds")


def test_keys_are_unique_and_stay_when_more_entries_come(make_trials):
    default = make_trials("gru", [0.5] * 5)
    wide = make_trials("gru", [0.6] * 5, overrides={"model.hidden_size": 64})
    half = make_trials("gru", [0.7] * 5, precision="bf16-mixed")
    for record in half:
        record["started"] = "2026-02-01T00:00:00+00:00"
    before, after = by_key(standings(default + wide)[0]), by_key(standings(half + wide + default)[0])
    assert len(after) == 3
    assert set(before) < set(after)
    assert after["gru"].row.precision == "32-true"
    assert all(key.replace("-", "").isalnum() for key in after)
    strange = standings(make_trials("My <Model>/é", [0.5]))[0].entries[0].key
    assert strange.isascii()
    assert not set(strange) & set("<>/ ")


def test_intervals_do_not_leave_the_range_of_the_metric(make_trials):
    (standing,) = standings(make_trials("a", [1.0, 1.0, 1.0, 1.0, 0.5]))
    assert standing.entries[0].mean.high == 1.0


def test_ranks_of_equal_models_are_seldom_wrong(make_trials):
    """Of the test that ranks rest on, `tests/statistics/test_family.py` asks for the figures."""
    random = np.random.default_rng(3)
    wrong = 0
    for _ in range(60):
        records = [record for model in "abcd" for record in make_trials(model, random.normal(0.5, 0.1, 5).tolist())]
        (standing,) = standings(records)
        wrong += any(entry.ranks != (1, 4) for entry in standing.entries)
    assert wrong <= 8


def test_who_is_better_among_all_is_so_alone(make_trials):
    random = np.random.default_rng(7)
    seen = 0
    for _ in range(20):
        records = [
            record
            for index, model in enumerate("abcd")
            for record in make_trials(model, random.normal(0.4 + 0.02 * index, 0.02, 3).tolist())
        ]
        (standing,) = standings(records, minimum_seeds=3)
        entries = by_key(standing)
        for (first, second), found in standing.comparisons.items():
            if found.verdict != "tied":
                assert compare(entries[first], entries[second], "maximize", 3).verdict == found.verdict
                seen += 1
    assert seen


def test_copies_of_records_are_no_further_trials(make_trials):
    records = make_trials("a", spread(0.9)) + make_trials("b", spread(0.5, seed=1))
    assert standings(records + records) == standings(records)


def test_two_entries_alone_have_nothing_to_correct_for(make_trials):
    first, second = (
        standings(make_trials("a", spread(center, seed=index)))[0] for index, center in enumerate((0.9, 0.5))
    )
    found = compare(first.entries[0], second.entries[0], "maximize")
    assert found.p == found.corrected
    assert found.verdict == "better"
    assert compare(first.entries[0], second.entries[0], "minimize").verdict == "worse"
    assert compare(first.entries[0], first.entries[0], "maximize").verdict == "tied"


def test_the_overall_score_is_over_the_same_tasks_for_all(make_trials):
    records = []
    for task in ("copy", "names", "sine"):
        for index, model in enumerate("abc"):
            if (model, task) != ("c", "names"):
                records += make_trials(model, spread(0.9 - 0.1 * index, seed=index), task=task)
    found = overview(standings(records))
    assert found.models == ("a", "b", "c")
    assert set(found.overall) == {"a", "b"} == set(found.profiles)
    assert found.missing == {"a": (), "b": (), "c": ("names:standard",)}
    assert found.counted["a"] == ("copy:standard", "names:standard", "sine:standard")
    pooled = [(record["primary"]["value"] - 0.125) / 0.875 for record in records if record["model"] == "a"]
    assert found.overall["a"].value == pytest.approx(np.mean(pooled))
    assert found.overall["a"].value == pytest.approx(
        np.mean([found.scores["a", setting].value for setting in found.counted["a"]])
    )
    assert found.overall["a"].low < found.overall["a"].value < found.overall["a"].high
    tau, fraction, low, high = found.profiles["a"]
    assert fraction == pytest.approx([np.mean(np.array(pooled) > one) for one in tau])
    assert (low <= high).all()


def test_one_models_private_task_takes_the_overall_score_from_nobody(make_trials):
    records = make_trials("a", [0.9] * 5) + make_trials("b", [0.8] * 5) + make_trials("c", [0.7] * 5)
    records += make_trials("a", [1.0] * 5, task="private")
    found = overview(standings(records))
    assert found.counted["a"] == ("copy:standard",)
    assert set(found.overall) == {"a", "b", "c"}
    assert found.scores["a", "private:standard"].value == 1.0


def test_models_that_share_no_task_are_groups_of_their_own(make_trials):
    records = make_trials("gru", [0.9] * 5) + make_trials("conv", [0.8] * 5, task="denoise")
    found = overview(standings(records))
    assert found.counted == {"gru": ("copy:standard",), "conv": ("denoise:standard",)}
    assert set(found.overall) == {"gru", "conv"}


def test_an_entry_without_rank_has_a_score_and_no_overall_one(make_trials):
    found = overview(standings(make_trials("a", [0.9] * 5) + make_trials("b", [0.99] * 3)))
    assert found.scores["b", "copy:standard"].value == pytest.approx((0.99 - 0.125) / 0.875)
    assert "b" not in found.overall
    assert found.missing["b"] == ("copy:standard",)


def test_the_overview_has_the_model_as_it_comes_rather_than_its_best_tuning(make_trials):
    tuned = make_trials("gru", [0.9] * 5, overrides={"model.hidden_size": 64})
    found = overview(standings(make_trials("gru", [0.5] * 5) + tuned))
    assert found.scores["gru", "copy:standard"].value == pytest.approx((0.5 - 0.125) / 0.875)
    assert overview(standings(tuned)).scores["gru", "copy:standard"].value == pytest.approx((0.9 - 0.125) / 0.875)


def test_nothing_has_no_standing():
    assert standings([]) == []
    assert overview([]).models == ()

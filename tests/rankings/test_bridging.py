"""Whether the gradient reached the lag that a task needs: told by hand-made profiles, and what is said of it."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from rnnae_bench.rankings import bridging
from rnnae_bench.records.history import Series
from rnnae_bench.report import why

STATE = "gradient_flow/last_step/recurrence.l0/h"
NEEDED = 30
"""Of copy:standard, of which `make_record` makes trials; their 5,000 steps too."""


def profiles(*slopes, name=STATE, steps=(1, 1001, 3001), lags=40):
    """Profiles that fall by so many decades a step back."""
    values = np.outer(slopes, np.arange(lags)).astype(np.float32)
    return {name: Series(np.array(steps[: len(slopes)]), values)}


@pytest.fixture
def make_record(make_record, make_document):
    """The fixture of that name, each trial of 5,000 steps."""
    measures = {**make_document()["measures"], "steps": 5000}
    return lambda *arguments, **changes: make_record(*arguments, **{"measures": measures} | changes)


@pytest.fixture
def trial(make_record):
    """A trial of copy:standard."""
    return make_record()


def test_the_share_counts_the_steps_that_each_profile_stands_for(trial):
    # A thousandth at lag 30 is a slope of -0.1: the first profile is lost there, the other two are not.
    found = bridging.bridge(trial, profiles(-0.2, -0.09, 0.01))
    assert (found.needed, found.first, found.farthest, found.by_input) == (NEEDED, 1001, 39, False)
    assert found.share == pytest.approx(4000 / 5000)


def test_what_never_reached_it_says_how_far_it_came(trial):
    found = bridging.bridge(trial, profiles(-0.5, -0.11, -0.2))
    assert (found.first, found.share, found.farthest) == (None, 0.0, 27)  # 0.11 * 27 < 3 < 0.11 * 28
    assert "never reached lag 30" in why.of_trial(trial, profiles(-0.5, -0.11, -0.2))


def test_one_state_that_reaches_it_is_enough_and_an_input_counts_only_without_states(trial):
    cell = STATE.removesuffix("h") + "c"
    both = {**profiles(-0.5, -0.5, -0.5), **profiles(-0.5, -0.01, -0.5, name=cell)}
    assert bridging.bridge(trial, both).share == pytest.approx(2000 / 5000)
    inputs = profiles(0.0, name="input_saliency/last_step/inputs/x")
    assert bridging.bridge(trial, {**inputs, **profiles(-0.5)}).first is None
    assert bridging.bridge(trial, inputs).by_input


def test_a_layer_above_the_lowest_does_not_count(trial):
    above = profiles(0.0, name=STATE.replace("l0", "l1"))
    assert bridging.bridge(trial, {**profiles(-0.5), **above}).first is None


def test_nothing_is_said_where_no_profile_reaches_the_lag_or_none_is_needed(trial, make_record):
    assert bridging.bridge(trial, profiles(0.0, lags=30)) is None
    assert why.of_trial(trial, profiles(0.0, lags=30)) == ""
    altered = make_record(overrides={"task.delay": 5})
    assert bridging.needed_lag(altered) is None
    assert bridging.bridge(altered, profiles(0.0)) is None


def test_unmeasured_profiles_count_neither_way(trial):
    series = profiles(0.0, 0.0, -0.5)
    series[STATE].values[1] = np.nan
    found = bridging.bridge(trial, series)
    assert found.share == pytest.approx(1000 / 3000)


def test_a_model_without_time_is_compared_by_depth(trial, make_record):
    record = make_record(variant="standard", task="denoise")
    steps = np.arange(100)
    norms = {"encoder.1": np.r_[np.full(50, 0.02), np.full(50, 0.5)], "decoder.0": np.ones(100)}
    series = {f"gradient_norm/{name}": Series(steps, values) for name, values in norms.items()}
    series |= profiles(0.0, name="input_saliency/last_step/inputs/x")
    assert bridging.reads_at_once(record, series)
    assert not bridging.reads_at_once(trial, series)
    found = bridging.depth(series)
    assert (found.first, found.last) == ("encoder.1", "decoder.0")
    assert (found.initial, found.final) == (pytest.approx(0.02), pytest.approx(0.5))
    said = why.of_trial(record, series)
    assert "by depth" in said
    assert "lag" not in said


def test_the_relation_is_scipys(make_record):
    records = [make_record(value, seed=seed) for seed, value in enumerate([0.2, 0.4, 0.9, 0.5, 1.0, 0.3])]
    shares = [0.1, 0.3, 0.6, 0.2, 1.0, 0.4]
    bridges = [bridging.Bridge(30, 1, share, 39, False) for share in shares]
    found = bridging.relation(records, bridges)
    expected = spearmanr(shares, [record.primary.score for record in records])
    assert (found.trials, found.rho, found.p) == (6, pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert bridging.relation(records[:4], bridges[:4]) is None
    assert bridging.relation(records, [bridges[0]] * 6) is None
    assert why.of_relation(None) == ""
    assert "the higher its score" in why.of_relation(bridging.Relation(20, 0.8, 0.001))
    assert why.of_relation(bridging.Relation(20, 0.1, 0.6)).startswith("No relation is established")


def test_the_sentence_of_a_row_is_of_medians(make_record):
    records = [make_record(seed=seed, id=f"{seed:016x}") for seed in range(3)]
    found = profiles(-0.2, 0, 0), profiles(-0.2, -0.2, 0), profiles(-0.5)
    series = {record.id: one for record, one in zip(records, found, strict=True)}
    said = why.of_row(records, lambda record: series[record.id])
    assert "in 2 of 3 seeds: first at step 2,001 and for 40% of the training (medians)" in said

    def unreadable(record):
        raise OSError

    assert why.of_row(records, unreadable) == ""

"""Baselines in their place among the models of a standing."""

import pytest

from rnnae_bench.rankings.references import Reference
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from

VALUES = {"gru": [0.90, 0.91, 0.92, 0.93, 0.94], "lstm": [0.5, 0.6, 0.7, 0.4, 0.55], "odd": [0.99, 0.98]}
BASELINES = {"memoryless": 0.125, "ngram": 0.58, "bayes": 1.0, "close": 0.95}


@pytest.fixture
def standing_of(make_document):
    def make(values, baselines, direction="maximize"):
        sign, records = 1 if direction == "maximize" else -1, []
        for model, found in values.items():
            for seed, value in enumerate(found):
                record = make_document(sign * value, model=model, seed=seed, id=f"{len(records):016x}")
                scale = {"floor": sign * 0.125, "ceiling": sign * 1.0, "solved_at": sign * 0.99}
                record["primary"] |= {"direction": direction, **scale}
                record["baselines"] = {name: {"recall_accuracy": sign * one} for name, one in baselines.items()}
                records.append(record_from(record))
        (standing,) = standings(records)
        return standing

    return make


def names(standing):
    return [one.name if isinstance(one, Reference) else one.row.label for one in standing.in_order]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_baselines_stand_in_their_place_and_models_without_a_rank_last(standing_of, direction):
    standing = standing_of(VALUES, BASELINES, direction)
    assert names(standing) == ["bayes", "close", "gru", "ngram", "lstm", "memoryless", "odd"]
    found = {one.name: one for one in standing.references}
    # The intervals: gru's ends below 0.95, lstm's holds 0.58 and ends below 0.9.
    assert {name: one.ranks for name, one in found.items()} == {
        "bayes": (1, 1),
        "close": (1, 1),
        "ngram": (2, 3),
        "memoryless": (3, 3),
    }
    assert [name for name, one in found.items() if one.is_floor] == ["memoryless"]
    assert [name for name, one in found.items() if one.is_ceiling] == ["bayes"]
    assert [name for name, one in found.items() if one.solves] == ["bayes"]
    assert found["ngram"].score == pytest.approx((0.58 - 0.125) / 0.875)
    # The models' own ranks are as without baselines.
    assert [one.ranks for one in standing.entries] == [one.ranks for one in standing_of(VALUES, {}, direction).entries]


def test_a_baseline_within_a_models_interval_may_be_on_either_side_of_it(standing_of):
    standing = standing_of(VALUES, {"inside": 0.915})
    assert standing.references[0].ranks == (1, 2)
    assert names(standing) == ["gru", "inside", "lstm", "odd"]


def test_where_no_model_has_a_rank_no_baseline_has_one_and_all_stand_by_value(standing_of):
    standing = standing_of({"odd": [0.99, 0.98], "worse": [0.1]}, BASELINES)
    assert [one.ranks for one in standing.references] == [None] * 4
    assert names(standing) == ["bayes", "odd", "close", "ngram", "memoryless", "worse"]

"""A record's label, its score and the row that it belongs to are the same wherever they are shown or counted."""

import pytest

from rnnae_bench.contracts.card import Scale
from rnnae_bench.rankings.equivalence import compare
from rnnae_bench.rankings.rows import summarize
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from
from rnnae_bench.records.flat import COLUMNS
from rnnae_bench.records.identity import row_key
from rnnae_bench.report.trial_picture import title
from rnnae_bench.statistics.score import score, unscored


def cell(name, record):
    return next(column for column in COLUMNS if column.name == name).cell(record)


def test_a_label_and_a_setting(make_record):
    overrides = {"model.hidden_size": 9, "task.delay": 3, "trainer.precision": "64-true"}
    record = make_record(overrides=overrides)
    (row,) = summarize([record])
    assert record.label == row.label == cell("label", record) == "gru[hidden_size=9]"
    assert record.setting == row.setting == cell("setting", record) == "copy:standard[delay=3]"
    assert title(record).startswith(f"{record.label} on {record.setting}, ")


@pytest.mark.parametrize(("floor", "ceiling"), [(0.125, 1.0), (2.0, 0.5)])
def test_a_score(make_document, floor, ceiling):
    document = make_document(0.7)
    document["primary"] |= {"floor": floor, "ceiling": ceiling}
    document["primary"]["direction"] = "maximize" if ceiling > floor else "minimize"
    record = record_from(document)
    expected = (0.7 - floor) / (ceiling - floor)
    (row,), (standing,) = summarize([record]), standings([record])
    (entry,) = standing.entries
    found = [record.primary.scored(0.7), Scale(floor, ceiling).score(0.7), row.score, entry.score.value]
    found += standing.scores(entry).values()
    assert found == pytest.approx([expected] * 5, rel=1e-15)
    assert unscored(expected, floor, ceiling) == pytest.approx(0.7)


def test_where_floor_and_ceiling_are_one_there_is_nothing_to_score():
    assert score(3.0, floor=1.0, ceiling=1.0) == 0.0


def test_a_row(make_document):
    """Everything makes another row but the seeds; in a comparison of layouts these don't either."""
    changes = [
        {},
        {"seed": 1, "data_seed": 1},
        {"model": "lstm"},
        {"configuration": {"task": {}, "model": {"hidden_size": 9}, "trainer": {}}},
        {"configuration": {"task": {}, "model": {}, "trainer": {"detect_anomaly": True}}},
        {"environment": make_document()["environment"] | {"plugins": {"rnnae-bench": "0.2.0"}}},
        {
            "environment": make_document()["environment"] | {"precision": "64-true"},
            "configuration": {"task": {}, "model": {}, "trainer": {"precision": "64-true"}},
        },
    ]
    records = [record_from(make_document(id=f"{place:016x}", **change)) for place, change in enumerate(changes)]
    keys = [row_key(record) for record in records]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 6
    rows = {frozenset(row.ids) for row in summarize(records)}
    entries = {frozenset(entry.row.ids) for standing in standings(records) for entry in standing.entries}
    expected = {frozenset(one.id for one in records if row_key(one) == key) for key in keys}
    assert rows == entries == expected
    alike = [row_key(record, any_layout=True) for record in records]
    assert alike[0] == alike[6]
    assert len(set(alike)) == 5
    assert [row.layout for row in compare(records)] == ["32-true x1", "64-true x1"]

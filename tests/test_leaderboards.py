"""The committed leaderboards: their records are records, made by the frozen protocol, and the page is in step."""

from pathlib import Path

import pytest

from rnnae_bench.leaderboard import readme, submission, tables
from rnnae_bench.registry import tasks
from rnnae_bench.reproduction import objections
from rnnae_bench.results.store import Store

FOLDER = Path(__file__).parents[1] / "leaderboards"
STORE = Store(FOLDER / "records")


@pytest.fixture(scope="module")
def records():
    found = STORE.read()
    assert not found.unreadable
    assert found.records
    return found.records


def test_the_page_is_in_step_with_the_records(records):
    assert readme.is_in_step(STORE.folder, records), "run rnnae-bench leaderboard validate --write"
    assert not readme.is_in_step(STORE.folder, records[1:])


def test_every_record_is_one_that_a_leaderboard_takes():
    seen = set()

    def once_a_row(record):
        # 'leaderboard validate' asks of every record, which takes a second for each of the larger ones.
        row = record["task"], record["variant"], record["model"]
        return ([], []) if row in seen or seen.add(row) else objections(record)

    assert [one.reasons for one in submission.inspect(STORE.folder, once_a_row).refused] == []
    assert seen


def test_every_record_followed_the_frozen_protocol(records):
    for record in records:
        assert record["overrides"] == {}
        variant = tasks().get(record["task"]).load().card().variant(record["variant"])
        assert record["configuration"]["task"] == {
            **record["configuration"]["task"],
            **variant.data,
            "protocol": vars(variant.protocol),
        }
        assert record["environment"]["git"]["dirty"] is False
        assert record["seed"] < 1000, "seeds from 1000 up are for tuning"


def test_every_record_has_its_histories(records):
    for record in records:
        series = STORE.series(record)
        assert list(series) == record["history"]["columns"][1:]
        assert len(series["gradient_norm"].steps) == record["measures"]["steps"]


def test_what_the_readme_promises_holds(records):
    values = {}
    for record in records:
        values.setdefault((record["task"], record["model"]), []).append(record["primary"]["value"])
    assert min(values["copy", "gru"]) >= 0.99
    assert max(values["copy", "rnn"]) < 0.9
    ridge = next(one for one in records if one["task"] == "denoise")["baselines"]["ridge"]
    for model in ("dense_ae", "conv_ae"):
        assert max(values["denoise", model]) < ridge["mse"]


def test_the_readme_shows_the_committed_numbers(records):
    readme = (FOLDER.parent / "README.md").read_text()
    for section in tables.sections(records):
        for row in section.rows:
            value = next(column for column in tables.COLUMNS if column.head == "metric").cell(row)
            cells = (f"`{section.setting}`", f"`{row.model}`", row.trials, f"{section.metric} {value}")
            assert f"| {' | '.join(map(str, cells))} | {row.solved}/{row.trials} |" in readme

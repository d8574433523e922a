"""``rnnae-bench query``."""

import csv
import io
import json

import pytest

from rnnae_bench.cli import main
from rnnae_bench.records.flat import COLUMNS
from rnnae_bench.records.store import Store

SCORES = "select model, avg(score) as score from trials where task = 'copy' group by model order by model"


@pytest.fixture
def folder(tmp_path, make_record):
    for number, (model, value) in enumerate([("gru", 0.5), ("gru", 0.7), ("lstm", 0.99)]):
        odd = {"model.odd": "\x1b[2J[red]x"}
        record = make_record(value, model=model, seed=number, id=f"{number:016x}", overrides=odd)
        Store(tmp_path / "runs").write(record, {})
    return str(tmp_path / "runs")


def test_forms(folder, capsys):
    expected = {"gru": (0.6 - 0.125) / 0.875, "lstm": (0.99 - 0.125) / 0.875}
    assert main(["query", SCORES, "--from", folder, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["model"]: row["score"] for row in rows} == pytest.approx(expected)
    assert main(["query", SCORES, "--from", folder, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["model"]: float(row["score"]) for row in rows} == pytest.approx(expected)
    assert main(["query", SCORES, "--from", folder]) == 0
    assert "0.5429" in capsys.readouterr().out


def test_json_of_every_type(folder, capsys):
    sql = "select overrides, started, 1::decimal(4, 2) as d, null as n, 'nan'::double as x, [1, 2] as l"
    sql += " from trials limit 1"
    assert main(["query", sql, "--from", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "overrides": {"model.odd": "\x1b[2J[red]x"},
            "started": "2026-01-01T00:00:00",
            "d": 1.0,
            "n": None,
            "x": None,
            "l": [1, 2],
        }
    ]


def test_what_a_record_says_is_text_for_the_terminal(folder, capsys):
    assert main(["query", "select label from trials", "--from", folder]) == 0
    said = capsys.readouterr().out
    assert "\x1b[2J" not in said
    assert r"\x1b[2J[red]x" in said


def test_columns_are_explained(folder, tmp_path, capsys):
    assert main(["query", "--columns", "--from", str(tmp_path / "absent")]) == 0
    said = capsys.readouterr().out
    assert all(column.name in said and column.explanation in said for column in COLUMNS)
    assert main(["query", "--columns", "--json", "--from", folder]) == 0
    names = [column["name"] for column in json.loads(capsys.readouterr().out)]
    assert names == [*(column.name for column in COLUMNS), "test_recall_accuracy"]


def test_mistakes(folder, capsys):
    assert main(["query", "select modle from trials", "--from", folder]) == 2
    assert "modle" in capsys.readouterr().err
    assert main(["query", "--from", folder]) == 2
    assert main(["query", "select 1", "--from", f"{folder}/absent"]) == 2

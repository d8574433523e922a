"""``rnnae-bench results`` over records on disk."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from rnnae_bench.cli import main
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store

SERIES = {
    "loss": Series(np.arange(1, 500), np.geomspace(2, 0.1, 499)),
    "gradient_norm": Series(np.arange(1, 500), np.geomspace(1e3, 1e-3, 499)),
}


@pytest.fixture
def folder(tmp_path, make_record):
    store = Store(tmp_path / "runs")
    failure = {"message": "<script>alert(1)</script> & more", "step": 3, "traceback": None}
    for number, record in enumerate(
        [
            make_record(0.5),
            make_record(0.7, seed=1),
            make_record(0.99, model="lstm"),
            make_record(None, model="rnn", status="error", failure=failure),
            make_record(0.3, variant="smoke"),
            make_record(0.3, task="sine"),
        ]
    ):
        store.write(replace(record, id=f"{number:016x}"), SERIES)
    return store.folder


def test_the_table_has_models_baselines_and_failures(folder, capsys):
    assert main(["results", str(folder), "--task", "copy:standard"]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    order = [words[0] for words in lines if words and words[0] in ("gru", "lstm", "rnn", "memoryless")]
    assert order == ["lstm", "gru", "rnn", "memoryless"]
    assert "memoryless (floor)" in said
    assert "0.6 ± 0.14" in said
    assert "1 error" in said
    assert "copy:smoke" not in said


@pytest.mark.parametrize("width", [62, 80, 100, 200])
def test_a_narrow_terminal_gets_fewer_columns_says_so_and_keeps_words_whole(folder, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["results", str(folder), "--task", "copy:standard"]) == 0
    said = capsys.readouterr().out
    for whole in ("memoryless (floor)", "0.6 ± 0.14", "failed", "solved"):
        assert whole in said
    assert "…" not in said
    assert ("no room here for: weights" in " ".join(said.split())) == (width <= 100)
    assert ("  weights" in said) == (width > 100)
    assert ("0/2 (0-.66)" in said) == (width >= 100)
    assert ("intervals of solved" in " ".join(said.split())) == (width < 100)


def test_filters_and_json(folder, capsys):
    assert main(["results", str(folder), "--json", "--task", "copy", "--model", "gru"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["variant"], row["mean"], row["seeds"]) for row in rows] == [
        ("smoke", 0.3, [0]),
        ("standard", pytest.approx(0.6), [0, 1]),
    ]
    assert main(["results", str(folder), "--json", "--status", "error"]) == 0
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == ["rnn"]


def test_csv_has_a_line_a_record(folder, capsys):
    assert main(["results", str(folder), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"ok", "error"}
    assert [row["value"] for row in rows if row["model"] == "lstm"] == ["0.99"]


def test_markdown(folder, capsys):
    assert main(["results", str(folder), "--markdown", "--model", "lstm"]) == 0
    said = capsys.readouterr().out
    assert "| lstm | 1 | 0.99 | 0.989 | 1/1 (.21-1) |" in said
    assert "| *memoryless (floor)* | | 0.125 |" in said


def test_the_page_is_whole_and_shows_records_as_text(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["results", str(folder), "--html", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    content = page.read_text()
    assert "<script>" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    assert "http://" not in content
    assert "https://" not in content
    assert content.count("data:image/png;base64,") == 5  # one a row


def test_nothing_that_matches_and_nothing_there(folder, tmp_path, capsys):
    assert main(["results", str(folder), "--task", "names"]) == 0
    assert "no record" in capsys.readouterr().out
    assert main(["results", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_torn_record_is_reported(folder, capsys):
    (folder / "torn.json").write_text("{")
    assert main(["results", str(folder)]) == 0
    assert "torn.json is no record" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(folder):
    done = subprocess.run(
        f"'{sys.executable}' -m rnnae_bench results '{folder}' --csv | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("id,status")
    assert done.stderr == ""


def test_results_import_no_torch(folder):
    code = (
        "import sys; from rnnae_bench.cli import main; main(sys.argv[1:]); "
        "sys.exit(int('torch' in sys.modules or 'lightning' in sys.modules))"
    )
    page = Path(folder).with_name("page.html")
    for form in ([], ["--csv"], ["--html", str(page)]):
        subprocess.run([sys.executable, "-c", code, "results", str(folder), *form], check=True, capture_output=True)


def test_superseded_records_are_listed_and_read_as_any_other(folder, make_record, capsys):
    Store(folder).write(make_record(0.9, id=f"{0:016x}"), SERIES)
    assert main(["results", str(folder), "--superseded", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["value"], row["trial"]) == (0.5, "gru on copy:standard, seed 0")
    assert main(["results", str(Path(row["file"]).parent), "--csv"]) == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert line["value"] == "0.5"
    assert main(["results", str(folder), "--superseded"]) == 0
    assert row["file"] in capsys.readouterr().out
    assert main(["results", str(folder), "--superseded", "--model", "lstm"]) == 0
    assert capsys.readouterr().out == f"no superseded record in {folder} matches (1 in all)\n"

"""``rnnae-bench leaderboard show`` and its tables."""

import json

import pytest
from msgspec.structs import replace

from rnnae_bench.cli import leaderboard
from rnnae_bench.errors import UserError
from rnnae_bench.rankings.overview import overview
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from
from rnnae_bench.records.store import Store
from rnnae_bench.report.standing_tables import markdown
from rnnae_bench.statistics.proportions import more_to_narrow

VALUES = {
    "gru": [0.98, 0.97, 0.99, 0.98, 0.96],
    "lstm": [0.97, 0.98, 0.96, 0.99, 0.98],
    "rnn": [0.3, 0.25, None, 0.2, 0.22],
    "odd": [0.5, 0.6],
}


@pytest.fixture
def records(make_document):
    found = []
    for task in ("copy", "sine"):
        for model, values in VALUES.items():
            for seed, value in enumerate(values):
                record = make_document(value, task=task, model=model, seed=seed, id=f"{len(found):016x}")
                if value is None:
                    record |= {"status": "oom", "failure": {"message": "x", "step": 1, "traceback": None}}
                found.append(record_from(record))
    return found


@pytest.fixture
def folder(tmp_path, records):
    for record in records:
        Store(tmp_path / "runs").write(record, {})
    return tmp_path / "runs"


def test_ranks_failures_and_reasons_are_shown(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert leaderboard.main(["show", str(folder), "--task", "copy"]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert [words[:2] for words in lines if len(words) > 1 and words[1] in VALUES] == [
        ["1-2", "gru"],
        ["1-2", "lstm"],
        ["3", "rnn"],
        ["-", "odd"],
    ]
    assert "2 of 5 seeds" in said
    assert "1 oom" in said
    assert [words[:3] for words in lines if "memoryless" in words] == [["(4)", "memoryless", "(floor)"]]
    assert "smallest difference that five seeds tell apart here: 0.0" in " ".join(said.split())
    # One of five solved by both of the best: none of the other ranked rows needs as many.
    assert f"with {more_to_narrow(1, 5)} more seeds a row, every interval of solved" in " ".join(said.split())
    assert "overview" not in said
    assert "sine" not in said


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_no_line_is_wider_than_the_terminal_and_the_rank_is_always_there(folder, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert leaderboard.main(["show", str(folder)]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns
    assert "1-2" in said
    assert "IQM" in said
    assert "overview" in said


def test_json_has_everything(folder, capsys):
    assert leaderboard.main(["show", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    copy = found["standings"][0]
    assert copy["setting"] == "copy:standard"
    assert [entry["ranks"] for entry in copy["entries"]] == [[1, 2], [1, 2], [3, 3], None]
    assert len(copy["comparisons"]) == 6
    assert copy["entries"][0]["solving"] == {"times": [], "share": [], "low": [], "high": [], "until": 10.0}
    assert copy["entries"][0]["row"]["solve_probability"]["value"] == 0.2
    assert found["overview"]["missing"]["odd"] == ["copy:standard", "sine:standard"]
    assert set(found["overview"]["profiles"]) == {"gru", "lstm", "rnn"}


def test_the_committed_leaderboard_is_looked_at_first(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert leaderboard.main(["show", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["standings"]) == 2
    (tmp_path / "leaderboards" / "records").mkdir(parents=True)
    assert leaderboard.main(["show"]) == 0
    assert "there are no records in leaderboards/records" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--task", "names"), "task variants there: copy:standard, sine:standard"),
        (("--minimum-seeds", "1"), "give 2 or more"),
    ],
)
def test_mistakes_are_told(folder, arguments, reason):
    with pytest.raises(UserError, match=reason):
        leaderboard.main(["show", str(folder), *arguments])


def test_names_in_records_are_text_in_markdown(records):
    found = standings(replace(record, model=record.model.replace("gru", "<b>|`gru`")) for record in records)
    said = markdown(found, overview(found))
    assert "<b>" not in said.replace("\\<b>", "")
    rows = [line for line in said.splitlines() if "gru" in line and line.startswith("|")]
    assert len(rows) == 3
    assert all(line.replace("\\|", "").count("|") == 9 for line in rows[1:])

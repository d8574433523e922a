"""``rnnae-bench leaderboard submit`` and ``validate``, over real records."""

import json
import shutil
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.results.record import checksum
from rnnae_bench.results.store import Store

COMMITTED = Store(Path(__file__).parents[2] / "leaderboards" / "records")


@pytest.fixture
def runs(tmp_path):
    """Real records of one row, with a checksum; the folder they lie in is not a leaderboard's."""
    store = Store(tmp_path / "runs")
    for record in COMMITTED.read().records:
        if (record["task"], record["model"]) == ("copy", "rnn") and record["seed"] < 3:
            store.write({key: value for key, value in record.items() if key != "checksum"}, COMMITTED.series(record))
    return store


def test_a_row_without_all_seeds_is_refused_and_nothing_is_written(runs, tmp_path, capsys):
    records = tmp_path / "board" / "records"
    assert main(["leaderboard", "submit", str(runs.folder), "--records", str(records), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["reasons"] for one in said["findings"]] == [["its row lacks seed 3, 4: a row has the seeds 0 to 4"]] * 3
    assert said["written"] == []
    assert not records.exists()


@pytest.fixture
def whole(runs):
    """The same with two seeds more, made of the first: their ids are right, their numbers the first seed's."""
    from rnnae_bench.configuration import Pair
    from rnnae_bench.trial import Trial

    pair = Pair("copy:standard", "rnn")
    first = runs.read().records[0]
    for seed in (3, 4):
        trial = Trial(pair, pair.resolve(first["configuration"]), seed)
        changes = {"id": trial.identity, "seed": seed, "data_seed": seed, "fingerprints": trial.fingerprints}
        record = {key: value for key, value in {**first, **changes}.items() if key != "checksum"}
        runs.write(record, runs.series(first))
    return runs


def test_a_whole_row_becomes_a_leaderboard_that_validates(whole, tmp_path, capsys):
    records = tmp_path / "board" / "records"
    submit = ["leaderboard", "submit", str(whole.folder), "--records", str(records)]
    assert main([*submit, "--dry-run"]) == 0
    assert not records.exists()
    assert main(submit) == 0
    said = capsys.readouterr().out
    assert "5 taken, 0 refused" in said
    assert f"git add {records}" in said
    assert "copy:standard" in (records.parent / "README.md").read_text()
    assert main(["leaderboard", "validate", str(records)]) == 0
    # A forged record that carries a right checksum, its score consistent in itself.
    record = Store(records).read().records[0]
    path = Store(records).path(record["id"])
    record["primary"] |= {"value": 1.0, "score": 1.0, "solved": True}
    record["metrics"]["test"]["recall_accuracy"] = 1.0
    path.write_text(json.dumps(record))
    assert main(["leaderboard", "validate", str(records)]) == 1
    assert "changed after it was written" in capsys.readouterr().out
    path.write_text(json.dumps({**record, "checksum": checksum(record)}))
    assert main(["leaderboard", "validate", str(records)]) == 1
    assert "not in step with the records" in capsys.readouterr().out


def test_a_page_that_is_out_of_step_is_found_and_mended(tmp_path, capsys):
    records = tmp_path / "records"
    records.mkdir()
    for path in COMMITTED.folder.glob("*"):
        record = json.loads(path.with_suffix(".json").read_text())
        if (record["task"], record["model"]) == ("copy", "rnn"):
            shutil.copy(path, records)
    (tmp_path / "heading.md").write_text("# Mine\n")
    assert main(["leaderboard", "validate", str(records), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["in_step"] is False
    assert all(one["taken"] for one in said["findings"])
    assert main(["leaderboard", "validate", str(records), "--write"]) == 0
    assert (tmp_path / "README.md").read_text().startswith("# Mine\n\n#")


def test_mistakes(tmp_path, capsys):
    assert main(["leaderboard", "submit", str(tmp_path / "absent")]) == 2
    assert main(["leaderboard", "submit", str(tmp_path), "--records", str(tmp_path)]) == 2
    assert main(["leaderboard", "validate", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err

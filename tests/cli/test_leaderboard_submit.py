"""``rnnae-bench leaderboard submit`` and ``validate``, over real records."""

import json
import shutil
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.records.document import checksum
from rnnae_bench.records.store import Store

COMMITTED = Store(Path(__file__).parents[2] / "leaderboards" / "records")


def copied(folder: Path, seeds: int) -> Store:
    """The first seeds of one committed row."""
    folder.mkdir()
    for record in COMMITTED.read().records:
        if (record.task, record.model) == ("copy", "rnn") and record.seed < seeds:
            for suffix in (".json", ".parquet"):
                shutil.copy(COMMITTED.path(record.id).with_suffix(suffix), folder)
    return Store(folder)


@pytest.fixture
def whole(tmp_path):
    return copied(tmp_path / "runs", 5)


def test_a_row_without_all_seeds_is_refused_and_nothing_is_written(tmp_path, capsys):
    runs = copied(tmp_path / "runs", 3)
    records = tmp_path / "board" / "records"
    assert main(["leaderboard", "submit", str(runs.folder), "--records", str(records), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["reasons"] for one in said["findings"]] == [["its row lacks seed 3, 4: a row has the seeds 0 to 4"]] * 3
    assert said["written"] == []
    assert not records.exists()


def test_a_whole_row_becomes_a_leaderboard_that_validates(whole, tmp_path, capsys):
    records = tmp_path / "board" / "records"
    submit = ["leaderboard", "submit", str(whole.folder), "--records", str(records)]
    assert main([*submit, "--dry-run"]) == 0
    assert not records.exists()
    assert main(submit) == 0
    said = capsys.readouterr().out
    assert "5 taken, 0 refused" in said
    assert f"git add {records}" in said
    assert f"to see it, open {records.parent / 'site' / 'index.html'}" in said
    assert "copy.standard" in (records.parent / "site" / "index.html").read_text()
    assert "copy:standard" in (records.parent / "README.md").read_text()
    assert main(["leaderboard", "validate", str(records)]) == 0
    # A forged record that carries a right checksum, its score consistent in itself.
    path = Store(records).path(Store(records).read().records[0].id)
    record = json.loads(path.read_text())
    record["primary"] |= {"value": 1.0, "score": 1.0, "solved": True}
    record["metrics"]["test"]["recall_accuracy"] = 1.0
    path.write_text(json.dumps(record))
    assert main(["leaderboard", "validate", str(records)]) == 1
    assert "changed after it was written" in capsys.readouterr().out
    path.write_text(json.dumps({**record, "checksum": checksum(record)}))
    assert main(["leaderboard", "validate", str(records)]) == 1
    assert "not in step with the records" in capsys.readouterr().out


def test_a_page_that_is_out_of_step_is_found_and_mended(whole, tmp_path, capsys):
    (tmp_path / "heading.md").write_text("# Mine\n")
    assert main(["leaderboard", "validate", str(whole.folder), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["in_step"] is False
    assert all(one["taken"] for one in said["findings"])
    assert main(["leaderboard", "validate", str(whole.folder), "--write"]) == 0
    assert "README.md is in step" in capsys.readouterr().out
    assert (tmp_path / "README.md").read_text().startswith("# Mine\n\n#")


def test_a_site_that_cannot_be_written_keeps_no_record_out(whole, tmp_path, capsys):
    board = tmp_path / "board"
    (board / "site").mkdir(parents=True)
    (board / "site" / "mine.txt").write_text("precious")
    assert main(["leaderboard", "submit", str(whole.folder), "--records", str(board / "records"), "--json"]) == 0
    said = capsys.readouterr()
    assert "the site is not built: cannot write a site" in said.err
    assert json.loads(said.out)["site"] is None
    assert len(Store(board / "records").read().records) == 5
    assert (board / "site" / "mine.txt").read_text() == "precious"


def test_a_full_disk_is_said_in_a_line(whole, full_disk, capsys):
    assert main(["leaderboard", "submit", str(whole.folder), "--records", str(full_disk / "records")]) == 2
    assert "No space left on device; fix that, and submit again" in capsys.readouterr().err
    assert main(["leaderboard", "build", str(whole.folder), "--out", str(full_disk / "site")]) == 2
    assert "cannot write a site to" in capsys.readouterr().err
    assert not list(full_disk.glob("**/.*"))


def test_mistakes(tmp_path, capsys):
    assert main(["leaderboard", "submit", str(tmp_path / "absent")]) == 2
    assert main(["leaderboard", "submit", str(tmp_path), "--records", str(tmp_path)]) == 2
    assert main(["leaderboard", "validate", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err

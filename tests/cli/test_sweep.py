"""The command `sweep`: a grid to records, stopped, killed, repeated and shared, in real processes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.records.store import Store

SHORT = "copy:smoke[protocol.max_steps=6,protocol.evaluate_every=3]"
LONG = "copy:smoke[protocol.max_steps=600,protocol.evaluate_every=600]"


def sweep(*arguments: str) -> int:
    return main(["sweep", *arguments])


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """A sweep in a process of its own, quick to take notice of signals."""
    # A shell's background job would have the suite, and so its children, ignore SIGINT.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from rnnae_bench.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, "sweep", *arguments, "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen, words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it never said '{words}'")


def records(folder: Path) -> dict[str, dict]:
    return {one.id: one for one in Store(folder).read().records}


def stamps(folder: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in folder.glob("*.json")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A folder with a grid of two models, two precisions (one that a CPU hasn't) and two seeds."""
    folder = tmp_path_factory.mktemp("swept")
    options = ["--model", "rnn[hidden_size=[4,8]]", "--precision", "32", "--precision", "16-mixed", "--seeds", "2"]
    assert sweep("--task", SHORT, *options, "--accelerator", "cpu", "--out", str(folder)) == 0
    return folder


GRID = ["--task", SHORT, "--model", "rnn[hidden_size=[4,8]]", "--seeds", "2", "--accelerator", "cpu"]


def test_every_trial_of_the_grid_has_a_record(swept):
    found = records(swept)
    by_status = {
        status: sorted(
            (one.configuration.model["hidden_size"], one.seed, one.environment.precision)
            for one in found.values()
            if one.status == status
        )
        for status in ("ok", "skipped")
    }
    assert by_status["ok"] == [(4, 0, "32-true"), (4, 1, "32-true"), (8, 0, "32-true"), (8, 1, "32-true")]
    assert by_status["skipped"] == [(4, 0, "16-mixed"), (4, 1, "16-mixed"), (8, 0, "16-mixed"), (8, 1, "16-mixed")]
    assert len(found) == 8
    for one in found.values():
        assert one.command[:2] == ["rnnae-bench", "sweep"]
        if one.status == "skipped":
            assert "half precision (fp16) needs a GPU" in one.failure.message
    assert Store(swept).drafts.identities() == []
    assert list((swept / "leases").iterdir()) == []


def test_a_sweep_that_was_done_does_nothing_again(swept, capsys):
    before = stamps(swept)
    assert sweep(*GRID, "--out", str(swept)) == 0
    assert stamps(swept) == before
    assert "2 of 2 measured before" in capsys.readouterr().err


def test_a_trial_of_a_sweep_is_the_trial_of_run(swept, tmp_path):
    options = ["--task.protocol.max_steps", "6", "--task.protocol.evaluate_every", "3", "--model.hidden_size", "4"]
    options += ["--trainer.accelerator", "cpu", "--seed", "1", "--out", str(tmp_path), "--json"]
    assert main(["run", "--task", "copy:smoke", "--model", "rnn", *options]) == 0
    (alone,) = records(tmp_path).values()
    assert records(swept)[alone.id].primary == alone.primary


def test_the_plan_names_the_trials_and_runs_none(swept, tmp_path, capsys):
    assert sweep(*GRID, "--dry-run", "--json", "--out", str(swept)) == 0
    planned = json.loads(capsys.readouterr().out)
    ran = {one.id for one in records(swept).values() if one.status == "ok"}
    assert {one["id"] for one in planned} == ran
    assert {one["state"] for one in planned} == {"measured before"}
    assert all(one["seconds"] > 0 for one in planned)
    apart = ["--model", "gru[layers=2,dropout=0.5]"]
    assert sweep(*GRID, *apart, "--dry-run", "--out", str(tmp_path)) == 0
    said = capsys.readouterr()
    assert all(identity in said.out for identity in ran)
    assert "6 of 6 trials to run" in said.out
    assert "trials as one" in said.err
    assert "each trial by itself: dropout would draw other random numbers" in said.err
    assert list(tmp_path.glob("*.json")) == []


def test_tables_of_what_there_is(swept, capsys):
    assert sweep("--collect", "--out", str(swept)) == 0
    assert "rnn[hidden_size=8]" in capsys.readouterr().out
    assert sweep("--collect", "--json", "--out", str(swept)) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_sweep_goes_on_by_the_same_command(tmp_path, by):
    grid = ["--task", LONG, "--model", "rnn[hidden_size=4]", "--seeds", "3", "--workers", "1", "--vectorize", "off"]
    process = start(tmp_path, *grid)
    read_until(process, "seed 0: recall_accuracy")
    # The second trial has begun, or is about to.
    process.send_signal(by)
    process.communicate(timeout=120)
    assert process.returncode == (-9 if by == signal.SIGKILL else 1)
    done = {
        identity: stamp for identity, stamp in stamps(tmp_path).items() if records(tmp_path)[identity].status == "ok"
    }
    assert 1 <= len(done) < 3
    assert sweep(*grid, "--out", str(tmp_path)) == 0
    found = records(tmp_path)
    assert sorted(one.seed for one in found.values()) == [0, 1, 2]
    assert {one.status for one in found.values()} == {"ok"}
    assert {identity: stamps(tmp_path)[identity] for identity in done} == done
    assert Store(tmp_path).drafts.identities() == []


def test_two_sweeps_over_one_folder_share_the_work(tmp_path):
    grid = [
        "--task",
        SHORT,
        "--model",
        "rnn[hidden_size=[2,3,4]]",
        "--seeds",
        "2",
        "--workers",
        "1",
        "--vectorize",
        "off",
    ]
    both = [start(tmp_path, *grid) for _ in range(2)]
    said = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(records(tmp_path)) == 6
    # Nothing was done twice: an earlier record would have been moved here.
    assert not (tmp_path / "superseded").exists()
    mine = [one.count("recall_accuracy") - one.count("by another sweep") for one in said]
    assert sum(mine) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "rnn"], "sweep needs --task NAME"),
        (["--task", "copy", "--model", "gru[hidden_size=[]]"], "the grid is empty"),
        (["--task", "copy", "--model", "gru[hiden_size=8]"], "did you mean --model.hidden_size?"),
        (["--task", "copy", "--model", "grü"], "there is no model 'grü'"),
        (["--task", "copy", "--model", "gru", "--devices", "32", "--accelerator", "cpu"], "choose fewer --devices"),
        (["--task", "copy", "--model", "gru", "--precison", "32"], "did you mean --precision?"),
        (["--task", "copy", "--model", "gru", "--executor", "ray", "--ray-address", "127.0.0.1:9"], "no Ray cluster"),
        (["--task", "copy", "--model", "gru", "--logger", "wandd"], "--logger"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(tmp_path, capsys, arguments, message):
    assert sweep(*arguments, "--out", str(tmp_path / "runs")) == 2
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert message in line
    assert said.out == ""
    assert list(tmp_path.rglob("*.json")) == []


def test_a_setting_that_cannot_be_planned_is_a_row_and_the_others_are_run(tmp_path, capsys):
    arguments = ["--task", SHORT, "--model", "rnn[hidden_size=[0,4]]", "--workers", "1", "--out", str(tmp_path)]
    assert sweep(*arguments, "--dry-run", "--json") == 0
    rows = {row["trial"].partition("rnn")[2]: row for row in json.loads(capsys.readouterr().out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "[hidden_size=0]": "refused",
        "[hidden_size=4], seed 0": "to run",
    }
    assert "hidden_size is 0" in rows["[hidden_size=0]"]["basis"]
    assert sweep(*arguments) == 1
    said = capsys.readouterr()
    assert "hidden_size is 0; it must be above 0" in said.err
    assert "not run" in said.out
    (record,) = records(tmp_path).values()
    assert (record.status, record.overrides["model.hidden_size"]) == ("ok", 4)


def test_a_wrong_key_in_a_file_is_named_with_its_line(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text("task: copy\nmodel: gru\nseedz: 3\n")
    assert sweep("--config", str(file)) == 2
    assert f"{file}:3: 'seedz' is not an option of a sweep; did you mean 'seed' or 'seeds'?" in capsys.readouterr().err


def test_a_search_finds_goes_on_and_repeats_nothing(tmp_path, capsys):
    pytest.importorskip("optuna")
    search = [
        "--task",
        SHORT,
        "--model",
        "rnn",
        "--search",
        "optuna",
        "--workers",
        "1",
        "--json",
        "--out",
        str(tmp_path),
    ]
    assert sweep(*search, "--search-trials", "2") == 0
    (first,) = json.loads(capsys.readouterr().out)
    before = stamps(tmp_path)
    assert first["tried"] == len(before) == 2
    assert len(first["expected_best"]) == 2
    assert {one.seed for one in records(tmp_path).values()} == {1000}
    assert sweep(*search, "--search-trials", "2") == 0
    assert json.loads(capsys.readouterr().out) == [first]
    assert stamps(tmp_path) == before

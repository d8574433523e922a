"""Push and pull with the real client, against a server on loopback that holds everything in memory."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb

from rnnae_bench.cli.leaderboard import main
from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.trackers import wandb_run
from rnnae_bench.leaderboard.trackers.wandb_client import quiet
from rnnae_bench.records.document import checksum, document_of
from rnnae_bench.records.history import Series
from rnnae_bench.records.samples import encode
from rnnae_bench.records.store import Store

PATH = "team/rnnae"
RUNS = [f"{seed:016x}" for seed in range(3)]


STEPS = np.arange(1, 6)
PROFILES = np.linspace(0, -4, 16, dtype=np.float32).reshape(2, 8)
SERIES = {
    "loss": Series(STEPS, np.array([3.0, 2.0, float("nan"), 1.0, 0.5])),
    "gradient_norm": Series(STEPS, STEPS / 2),
    "validation/recall_accuracy": Series(np.array([2, 5]), np.array([0.25, 0.5])),
    "gradient_flow/last_step/recurrence.l0/h": Series(np.array([1, 5]), PROFILES),
}
NUMBERS = {name: one for name, one in SERIES.items() if one.values.ndim == 1}
SAMPLES = encode(
    {
        "rows": np.arange(2),
        "inputs": np.array([[1, 0, 2], [1, 0, 2]]),
        "targets": np.array([[0, 0, 1], [0, 0, 1]]),
        "prediction": np.zeros((2, 3, 2), dtype=np.float32),
    }
)
FAILED = {"status": "error", "failure": {"message": "bad <b>weather</b>", "step": 3, "traceback": None}}


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_record):
    """Records of three seeds; the first has samples, the last trial failed."""
    made = Store(tmp_path_factory.mktemp("runs"))
    made.write(make_record(0.5, id=RUNS[0], seed=0, schema=2), SERIES, SAMPLES)
    made.write(make_record(0.6, id=RUNS[1], seed=1), NUMBERS)
    made.write(make_record(None, id=RUNS[2], seed=2, **FAILED), NUMBERS)
    return made


def push(store: Store, *arguments: str) -> int:
    return main(["push", str(store.folder), *arguments, "--wandb", PATH])


def pull(folder: Path, *arguments: str, projects: tuple[str, ...] = (PATH,)) -> int:
    return main(["pull", "--wandb", *projects, "--out", str(folder), *arguments])


@pytest.fixture(scope="module")
def pushed(server, store):
    """The project after a push."""
    assert push(store) == 0
    return server.project(PATH)


def test_a_run_says_what_its_trial_was(pushed, store):
    assert list(pushed.runs) == [*RUNS, "leaderboard"]
    run = pushed.runs[RUNS[0]]
    assert run.fields["displayName"] == "gru-0"
    assert run.fields["groupName"] == "copy:standard/gru"
    assert run.fields["jobType"] == "trial"
    assert run.fields["tags"] == ["copy", "copy:standard", "gru", "cpu", "32-true"]
    assert (run.config["setting"], run.config["model_name"], run.config["seed"]) == ("copy:standard", "gru", 0)
    assert all(one.config.keys() == run.config.keys() for one in pushed.runs.values() if one.name in RUNS)
    assert (run.summary["status"], run.summary["primary"], run.summary["test/recall_accuracy"]) == ("ok", 0.5, 0.5)
    assert run.summary["record_checksum"] == checksum(document_of(store.find(RUNS[0])))
    assert run.exit_code == 0


def test_histories_are_over_the_optimiser_step_and_the_heatmap_is_there_once(pushed, server):
    rows = pushed.runs[RUNS[0]].history
    assert [(row["trainer/global_step"], row["gradient_norm"]) for row in rows if "gradient_norm" in row] == [
        (step, step / 2) for step in range(1, 6)
    ]
    looks = [(row["trainer/global_step"], row["validation/recall_accuracy"]) for row in rows[:5] if len(row) > 6]
    assert looks == [(2, 0.25), (5, 0.5)]
    assert math.isnan(rows[2]["loss"])
    (picture,) = (row["gradient_through_time"] for row in rows if "gradient_through_time" in row)
    assert server.storage[f"run/{RUNS[0]}/{picture['path']}"].startswith(b"\x89PNG")
    assert not any("gradient_through_time" in row for row in pushed.runs[RUNS[1]].history)


def test_a_failed_trial_is_a_failed_run(pushed):
    run = pushed.runs[RUNS[2]]
    assert run.exit_code == 1
    assert (run.summary["status"], run.summary["failure"]) == ("error", "bad <b>weather</b>")
    assert "primary" not in run.summary


def test_the_table_and_the_report_hold_the_standings(pushed, server):
    shown = pushed.runs["leaderboard"].history[-1]["standings"]
    table = json.loads(server.storage[f"run/leaderboard/{shown['path']}"])
    (row,) = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (row["setting"], row["model"], row["seeds"], row["failed"]) == ("copy:standard", "gru", 3, 1)
    assert row["mean"] == pytest.approx((0.5 + 0.6 + 0.125) / 3)
    assert (row["rank"], row["remark"]) == ("", "3 of 5 seeds")
    (view,) = pushed.views.values()
    assert view["displayName"] == "rnnae-bench leaderboard"
    assert "3 of 5 seeds" in view["spec"]
    assert "gradient_through_time" in view["spec"]


def test_models_are_rows_and_tasks_columns(server, make_record, tmp_path):
    records = Store(tmp_path)
    wide = {
        "overrides": {"model.hidden_size": 64},
        "configuration": {"task": {}, "model": {"hidden_size": 64}, "trainer": {}},
    }
    slow = {"overrides": {"trainer.lr": 0.001}, "configuration": {"task": {}, "model": {}, "trainer": {"lr": 0.001}}}
    records.write(make_record(0.3, id="1" * 16), NUMBERS)
    records.write(make_record(0.65, id="2" * 16, task="sine"), NUMBERS)
    records.write(make_record(0.5625, id="3" * 16, **wide), NUMBERS)
    records.write(make_record(0.9, id="4" * 16, task="sine", **slow), NUMBERS)
    assert main(["push", str(tmp_path), "--wandb", "team/zoo"]) == 0
    project = server.project("team/zoo")
    shown = project.runs["leaderboard"].history[-1]["scores"]
    table = json.loads(server.storage[f"run/leaderboard/{shown['path']}"])
    assert table["columns"] == ["model", "devices", "tasks", "copy:standard", "sine:standard"]
    # Of the two on sine, the one with the defaults; nothing stands where nothing was run.
    assert table["data"] == [
        ["gru", "1x cpu 32-true", 2, pytest.approx(0.2), pytest.approx(0.6)],
        ["gru[hidden_size=64]", "1x cpu 32-true", 1, pytest.approx(0.5), None],
    ]
    (view,) = project.views.values()
    first = next(one for one in json.loads(view["spec"])["blocks"] if one["type"] == "markdown-block")
    assert first["content"].splitlines()[2:] == [
        "| gru | 1x cpu 32-true | 2 | 0.2 | 0.6 |",
        r"| gru\[hidden\_size=64] | 1x cpu 32-true | 1 | 0.5 | - |",
    ]
    found = {(run.config["label"], run.config["setting"]) for run in project.runs.values() if run.name != "leaderboard"}
    assert found == {
        ("gru", "copy:standard"),
        ("gru", "sine:standard"),
        ("gru[hidden_size=64]", "copy:standard"),
    }
    assert project.runs["3" * 16].fields["tags"][:4] == ["copy", "copy:standard", "gru", "gru[hidden_size=64]"]
    assert '"grouping":[{"section":"config","name":"label.value"}]' in view["spec"]


def test_pushing_again_changes_nothing(pushed, server, store, capsys):
    before = len(server.operations)
    assert push(store) == 0
    assert "0 runs written, 4 were there already" in capsys.readouterr().out
    assert not {"UpsertBucket", "CreateArtifact"} & set(server.operations[before:])
    assert len(pushed.views) == 1
    # Offline, what was delivered is known as well: there is nothing to sync.
    assert push(store, "--mode", "offline") == 0
    assert "0 runs written, 4 were there already" in capsys.readouterr().out
    assert not list(store.folder.glob("logs/push/team/rnnae/wandb/offline-run-*"))


def test_what_was_pushed_is_pulled_back_byte_for_byte(pushed, server, store, tmp_path, capsys):
    assert pull(tmp_path) == 0
    assert "3 records written" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 7
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (store.folder / path.name).read_bytes()
    before = len(server.operations)
    (tmp_path / f"{RUNS[1]}.json").unlink()
    assert pull(tmp_path, "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["project"], said["written"], said["present"]) == (PATH, [RUNS[1]], [RUNS[0], RUNS[2]])
    assert server.operations[before:].count("RunOutputArtifacts") == 2  # of the missing one, and of the table's run
    assert server.unknown == []


def test_another_record_of_the_same_trial_stays(pushed, make_record, tmp_path, capsys):
    mine = Store(tmp_path)
    mine.write(make_record(0.9, id=RUNS[1], seed=1), NUMBERS)
    content = mine.path(RUNS[1]).read_bytes()
    assert pull(tmp_path) == 1
    said = capsys.readouterr()
    assert "2 records written" in said.out
    (line,) = said.err.splitlines()
    assert line.endswith(
        f"run {RUNS[1]} of {PATH} is left out: {mine.path(RUNS[1])} has another record of this trial: "
        "recall_accuracy 0.9 there, recall_accuracy 0.6 in the run"
    )
    assert mine.path(RUNS[1]).read_bytes() == content


def test_several_projects_are_pulled_into_one_folder(pushed, server, store, make_record, tmp_path, capsys):
    theirs = Store(tmp_path / "theirs")
    theirs.adopt(store.find(RUNS[0]), (store.folder / f"{RUNS[0]}.parquet").read_bytes(), SAMPLES)
    theirs.write(make_record(0.9, id=RUNS[1], seed=1), NUMBERS)
    later = {"started": "2026-02-01T00:00:00+00:00", "finished": "2026-02-01T00:00:02+00:00"}
    theirs.write(make_record(None, id=RUNS[2], seed=2, **FAILED, **later), NUMBERS)
    theirs.write(make_record(0.7, id="f" * 16, seed=3), NUMBERS)
    other = "others/rnnae"
    assert main(["push", str(theirs.folder), "--wandb", other, "--no-report"]) == 0
    capsys.readouterr()
    before = len(server.operations)
    both = tmp_path / "both"
    # One that is named twice is read once.
    assert pull(both, projects=(PATH, other, PATH)) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{PATH}: 3 records written to {both}, 0 were there already",
        f"{other}: 1 record written to {both}, 1 was there already",
    ]
    one, failed = said.err.splitlines()
    assert one.endswith(
        f"run {RUNS[1]} of {other} is left out: {both / RUNS[1]}.json (from {PATH}) has another record of this trial: "
        "recall_accuracy 0.6 there, recall_accuracy 0.9 in the run"
    )
    assert failed.endswith("recall_accuracy None in both, but not the same started, finished")
    assert Store(both).find(RUNS[1]).primary.value == 0.6
    assert Store(both).find("f" * 16).primary.value == 0.7
    # What was there is not fetched; of the others, the table's runs included, artifacts are.
    assert server.operations[before:].count("RunOutputArtifacts") == 3 + 3 + 2
    assert pull(tmp_path / "turned", "--json", projects=(other, PATH)) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["project"], len(first["written"]), second["project"]) == (other, 4, PATH)
    assert (second["written"], second["present"], [*second["differing"]]) == ([], [RUNS[0]], [RUNS[1], RUNS[2]])
    assert Store(tmp_path / "turned").find(RUNS[1]).primary.value == 0.9


def test_nothing_is_written_where_one_project_is_missing(pushed, tmp_path):
    with pytest.raises(UserError, match="can't pull from others/absent: Could not find project absent"):
        pull(tmp_path / "out", projects=(PATH, "others/absent"))
    assert not (tmp_path / "out").exists()


def artifact_of(run: wandb.Run, content: dict[str, bytes], folder: Path, metadata=None, **references: str) -> None:
    artifact = wandb.Artifact(f"record-{RUNS[0]}", type=wandb_run.RECORD_TYPE, metadata=metadata or {})
    for name, data in content.items():
        path = folder / name
        path.write_bytes(data)
        artifact.add_file(str(path))
    for name, uri in references.items():
        artifact.add_reference(uri, f"{RUNS[0]}.{name}")
    run.log_artifact(artifact).wait()


def test_what_is_no_record_is_refused_with_the_reason(server, store, tmp_path, capsys):
    json_name, table_name = f"{RUNS[0]}.json", f"{RUNS[0]}.parquet"
    document, table = (store.folder / json_name).read_bytes(), (store.folder / table_name).read_bytes()
    good = {"record_checksum": checksum(document_of(store.find(RUNS[0])))}
    edited = document.replace(b'"value": 0.5', b'"value": 0.9')
    assert edited != document
    secret = tmp_path / "secret"
    secret.write_text("mine")
    newer = json.dumps({**json.loads(document), "schema": 3, "mood": "good"}).encode()
    kept_name = store.find(RUNS[0]).samples.file
    other_samples = encode({name: np.arange(1) for name in ("rows", "inputs", "targets", "prediction")})
    forged = {
        "newer": ({json_name: newer, "mood.json": b"{}"}, good, {}, "schema: is none of its values: 3; one of 1, 2"),
        "another": ({json_name: document, table_name: table, kept_name: other_samples}, good, {}, "not those that it"),
        "noise": ({json_name: document, table_name: table, kept_name: b"PK"}, good, {}, "zip"),
        "crowded": ({json_name: document, table_name: table, "x.sh": b"rm"}, good, {}, "but holds "),
        "edited": ({json_name: edited, table_name: table}, good, {}, "its checksum does not fit"),
        "swapped": ({json_name: document, table_name: b"PAR1"}, good, {}, "can't be read"),
        "torn": ({json_name: document[:100], table_name: table}, good, {}, "Unterminated string"),
        "short": ({json_name: document}, good, {}, "should hold"),
        "pointing": ({json_name: document}, good, {"parquet": secret.as_uri()}, "is a reference to file://"),
    }
    for name, (content, metadata, references, _) in forged.items():
        with wandb.init(
            entity="team", project=f"forged-{name}", id="x", dir=tmp_path, settings=quiet(watch_machine=False)
        ) as run:
            artifact_of(run, content, tmp_path, metadata, **references)
    capsys.readouterr()
    for name, (_, _, _, reason) in forged.items():
        out = tmp_path / name
        assert main(["pull", "--wandb", f"team/forged-{name}", "--out", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"run x of team/forged-{name} is left out: " in line
        assert reason in line
        assert not list(out.glob("*"))


def test_a_run_without_a_record_is_named(server, tmp_path, capsys):
    with wandb.init(entity="team", project="other", id="mine", dir=tmp_path, settings=quiet(watch_machine=False)):
        pass
    capsys.readouterr()
    assert main(["pull", "--wandb", "team/other", "--out", str(tmp_path / "out")]) == 0
    assert "run mine of team/other: no record, left out" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["push", "pull"])
@pytest.mark.parametrize("path", ["rnnae", "team/rnnae/x", "team/", "../x", "https://wandb.ai/team/rnnae"])
def test_a_path_that_is_no_project(action, path):
    with pytest.raises(UserError, match="give ENTITY/PROJECT"):
        main([action, "--wandb", path])


def test_mistakes_are_told_in_a_line(alone, server, wandb_server, store, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no key to log in with; run 'wandb login' or set WANDB_API_KEY"):
        pull(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    with pytest.raises(
        UserError, match=r"http://127.0.0.1:9 can't be reached: Connection refused; its runs can't be read"
    ):
        pull(tmp_path)
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 can't be reached: Connection refused; without a network"):
        push(store)
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    with pytest.raises(UserError, match="can't pull from team/absent: Could not find project absent"):
        main(["pull", "--wandb", "team/absent", "--out", str(tmp_path)])
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", "w" * 40)
    with pytest.raises(UserError, match="can't log in to W&B"):
        push(store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there are no records in .* to push"):
        push(Store(tmp_path / "empty"))


def test_an_offline_push_is_sent_by_wandb_sync(alone, wandb_server, store, tmp_path, monkeypatch, capsys):
    runs = Store(tmp_path / "runs")
    for seed, kept in ((0, SAMPLES), (2, None)):
        runs.adopt(store.find(RUNS[seed]), (store.folder / f"{RUNS[seed]}.parquet").read_bytes(), kept)
    assert push(runs, "--mode", "offline") == 0
    assert push(runs, "--mode", "offline") == 0
    said = capsys.readouterr().out
    assert "3 runs written, 0 were there already" in said
    assert "0 runs written, 3 were there already" in said
    folders = sorted((runs.folder / "logs/push/team/rnnae/wandb").glob("offline-run-*"))
    assert len(folders) == 3
    # The records may go; the offline runs carry all.
    for path in runs.folder.glob("0*"):
        path.unlink()
    own = wandb_server.WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", own.url)
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    wandb.teardown()
    try:
        sync(folders, tmp_path)
        project = own.project(PATH)
        assert project.runs.keys() == {RUNS[0], RUNS[2], "leaderboard"}
        assert (project.runs[RUNS[0]].exit_code, project.runs[RUNS[2]].exit_code) == (0, 1)
        assert any("gradient_through_time" in row for row in project.runs[RUNS[0]].history)
        assert pull(tmp_path / "back") == 0
        for path in (tmp_path / "back").iterdir():
            assert path.read_bytes() == (store.folder / path.name).read_bytes()
        assert len(list((tmp_path / "back").iterdir())) == 5
        # Neither a second sync nor a push from here doubles anything.
        once = content(project)
        sync(folders, tmp_path)
        assert content(project) == once
        assert push(Store(tmp_path / "back"), "--no-report") == 0
        assert "0 runs written, 3 were there already" in capsys.readouterr().out
        assert content(project) == once
        assert own.unknown == []
    finally:
        own.close()


def content(project) -> tuple[list, list]:
    """What can be seen of a project's runs and artifacts."""
    runs = [(run.name, run.history, run.summary, run.exit_code) for run in project.runs.values()]
    return runs, [(one.collection, one.version, one.digest, one.aliases) for one in project.artifacts]


def sync(folders: list[Path], folder: Path) -> None:
    """``wandb sync``, as a user calls it."""
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        # It logs to the current folder.
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Runs that others logged, compared with the real client against a server on loopback."""

import json
import tempfile

import numpy as np
import pytest
import wandb

import rnnae_bench
from rnnae_bench import cli
from rnnae_bench.cli import compare
from rnnae_bench.cli.leaderboard import main as leaderboard
from rnnae_bench.leaderboard.trackers.wandb_client import connect, quiet
from rnnae_bench.leaderboard.trackers.wandb_fetch import fetch_run
from rnnae_bench.records.document import record_from
from rnnae_bench.records.history import EXAMPLES, Series
from rnnae_bench.records.samples import encode
from rnnae_bench.records.store import Store

OURS, THEIRS = [0.50, 0.60, 0.55], 0.75
IDS = [f"{seed:016x}" for seed in range(3)]
LSTM, AGAIN = "a" * 16, IDS[1]
SAMPLES = encode({name: np.arange(2) for name in ("rows", "inputs", "targets", "prediction")})


def scores(value: float, seed: int) -> np.ndarray:
    """What a trial scored on 200 examples, as single numbers of 32 bits; their mean is the value."""
    found = np.random.default_rng(seed).random((1, 200))
    return (found - found.mean() + value).astype(np.float32)


@pytest.fixture(scope="module")
def write(make_document):
    """Write a record with histories, as of the test's examples."""

    def write(store: Store, value: float, seed: int, samples: bytes | None = None, **changes) -> None:
        document = make_document(value, seed=seed, schema=2, **changes)
        column = Series(np.array([10]), scores(value, seed + 10 * (document["model"] == "lstm")))
        store.write(record_from(document), {f"{EXAMPLES}recall_accuracy": column}, samples)

    return write


@pytest.fixture(scope="module")
def ours(tmp_path_factory, write):
    """Three seeds of a GRU."""
    store = Store(tmp_path_factory.mktemp("ours"))
    for seed, value in enumerate(OURS):
        write(store, value, seed, id=IDS[seed])
    return store


@pytest.fixture(scope="module")
def theirs(server, tmp_path_factory, write):
    """What others pushed: an LSTM under seed 2, and a trial of ours that came out otherwise with them."""
    store = Store(tmp_path_factory.mktemp("theirs"))
    write(store, THEIRS, 2, SAMPLES, id=LSTM, model="lstm")
    write(store, 0.9, 1, id=AGAIN)
    assert leaderboard(["push", str(store.folder), "--wandb", "others/rnnae", "--no-report"]) == 0
    return store


def name(identity: str) -> str:
    return f"wandb:others/rnnae/{identity}"


def compared(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert compare.main([*map(str, arguments), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


def test_anothers_run_is_compared_as_if_its_record_lay_here(ours, theirs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(ours.folder.iterdir())
    found = compared(capsys, name(LSTM), "gru", "--from", ours.folder)
    assert found["first"]["name"] == f"{name(LSTM)}: lstm"
    assert (found["second"]["name"], found["second"]["ids"]) == ("gru", IDS)
    assert found["comparison"]["seeds"] == 1
    assert found["comparison"]["difference"]["value"] == pytest.approx(THEIRS - OURS[2])
    # The histories came with it.
    assert found["test_examples"]["difference"]["value"] == pytest.approx(
        np.mean(scores(THEIRS, 12).astype(float) - scores(OURS[2], 2)), abs=1e-6
    )
    # Nothing is left of it, here or in the temporary folder.
    assert sorted(ours.folder.iterdir()) == before
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("rnnae-bench-")]
    together = Store(tmp_path / "together")
    for store in (ours, theirs):
        for record in store.read().records:
            if together.find(record.id) is None:
                table = (store.folder / record.history.file).read_bytes()
                together.adopt(record, table, store.kept_samples(record))
    local = compared(capsys, LSTM, "gru", "--from", together.folder)
    for part in ("setting", "costs", "configuration", "test_examples"):
        assert found[part] == local[part]
    assert found["comparison"] | {"first": ""} == local["comparison"] | {"first": ""}
    turned = compared(capsys, "gru", name(LSTM), "--from", ours.folder)
    assert turned["comparison"]["difference"]["value"] == -found["comparison"]["difference"]["value"]
    said = repr(rnnae_bench.compare(name(LSTM), "gru", source=ours.folder))
    assert said.startswith(
        f"too few seeds for a verdict on {name(LSTM)}: lstm and gru on copy:standard: recall_accuracy"
    )


def test_the_same_trial_in_two_places_is_two_records(ours, theirs, capsys):
    found = compared(capsys, name(AGAIN), AGAIN, "--from", ours.folder)
    assert found["first"]["ids"] == found["second"]["ids"] == [AGAIN]
    assert (found["first"]["values"], found["second"]["values"]) == ({"1": 0.9}, {"1": 0.6})
    assert found["comparison"]["difference"]["value"] == pytest.approx(0.3)


def test_two_runs_of_two_projects_need_no_records_here(ours, theirs, tmp_path, monkeypatch, capsys):
    assert leaderboard(["push", str(ours.folder), "--wandb", "team/mine", "--no-report"]) == 0
    monkeypatch.chdir(tmp_path)
    found = compared(capsys, f"wandb:team/mine/{AGAIN}", name(AGAIN))
    assert found["first"]["name"] == f"wandb:team/mine/{AGAIN}: gru"
    assert found["comparison"]["difference"]["value"] == pytest.approx(-0.3)


def test_a_run_beside_a_baseline_and_beside_a_folder(ours, theirs, capsys):
    found = compared(capsys, name(LSTM), "memoryless", "--from", ours.folder)
    assert found["comparison"]["difference"]["value"] == pytest.approx(THEIRS - 0.125)
    found = compared(capsys, name(AGAIN), ours.folder)
    assert found["second"]["name"] == f"{ours.folder}: gru"
    assert found["comparison"]["difference"]["value"] == pytest.approx(0.3)


def test_a_notebook_may_have_a_run_of_its_own(ours, theirs, tmp_path, capsys):
    with wandb.init(entity="team", project="other", id="mine", dir=tmp_path, settings=quiet(watch_machine=False)):
        assert compared(capsys, name(LSTM), "gru", "--from", ours.folder)["comparison"]["seeds"] == 1


def test_a_run_is_fetched_whole(theirs, tmp_path):
    store = Store(tmp_path / "fetched")
    fetch_run(connect(reading=True), name(LSTM), store)
    assert len(list(store.folder.iterdir())) == 3
    for path in store.folder.iterdir():
        assert path.read_bytes() == (theirs.folder / path.name).read_bytes()


@pytest.fixture(scope="module")
def odd(server, theirs, tmp_path_factory):
    """A project with runs that have no record that can be taken: another program's, a later version's, one going on."""
    folder = tmp_path_factory.mktemp("odd")
    document = (theirs.folder / f"{LSTM}.json").read_bytes().replace(b'"schema": 2', b'"schema": 3')
    (folder / f"{LSTM}.json").write_bytes(document)
    settings = quiet(watch_machine=False)
    with wandb.init(entity="others", project="odd", id="own", dir=folder, settings=settings):
        pass
    with wandb.init(entity="others", project="odd", id="newer", dir=folder, settings=settings) as run:
        artifact = wandb.Artifact(f"record-{LSTM}", type="rnnae-bench-record")
        artifact.add_file(str(folder / f"{LSTM}.json"))
        run.log_artifact(artifact).wait()
    with wandb.init(entity="others", project="odd", id="going", job_type="trial", dir=folder, settings=settings):
        pass
    server.project("others/odd").runs["going"].exit_code = None


MISTAKES = [
    ("wandb:others/rnnae", "names no run on W&B; give wandb:ENTITY/PROJECT/RUN, with the run's id, as in wandb:team/"),
    ("wandb:others/rnnae/", "names no run on W&B"),
    ("wandb:others/../x", "names no run on W&B"),
    ("wandb:", "names no run on W&B"),
    ("wandb:others/rnnae/absent", "can't read wandb:others/rnnae/absent: Could not find run"),
    ("wandb:nobody/rnnae/absent", "can't read wandb:nobody/rnnae/absent: Could not find run"),
    ("wandb:others/rnnae/leaderboard", "has no record: it is no trial, but a run of job type leaderboard"),
    ("wandb:others/odd/own", "has no record: it is not from rnnae-bench, or ended before its record arrived"),
    ("wandb:others/odd/going", "has no record: it is still running"),
    ("wandb:others/odd/newer", "the record of wandb:others/odd/newer can't be taken: schema: is none of its values: 3"),
]


@pytest.mark.parametrize(("given", "said"), MISTAKES, ids=[given for given, _ in MISTAKES])
def test_mistakes_are_told_in_a_line(ours, odd, capsys, given, said):
    capsys.readouterr()
    assert cli.main(["compare", given, "gru", "--from", str(ours.folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_malformed_second_name_is_refused_before_the_first_is_fetched(server, theirs, capsys):
    before = len(server.operations)
    assert cli.main(["compare", name(LSTM), "wandb:others"]) == 2
    assert server.operations[before:] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gru", "--task", "sine"), f"{name(LSTM)} has no record of sine; task variants there: copy:standard"),
        (("gru", "--model", "lstm"), "are not both folders"),
        (("transformer",), "there is no model or record 'transformer' among the records of copy:standard; models: gru"),
    ],
)
def test_a_run_that_has_nothing_in_common(ours, theirs, capsys, arguments, said):
    assert cli.main(["compare", name(LSTM), *arguments, "--from", str(ours.folder)]) == 2
    assert said in capsys.readouterr().err


def test_another_metric_is_refused(theirs, write, make_document, tmp_path, capsys):
    store = Store(tmp_path)
    other = make_document(0.5, id=IDS[0], seed=2, schema=2)
    other["primary"]["metric"] = "accuracy"
    store.write(record_from(other), {})
    assert cli.main(["compare", name(LSTM), "gru", "--from", str(tmp_path)]) == 2
    assert f"{name(LSTM)}: lstm by recall_accuracy and gru by accuracy" in capsys.readouterr().err


def test_without_a_network_it_says_so(alone, wandb_server, ours, monkeypatch, capsys):
    assert cli.main(["compare", name(LSTM), "gru", "--from", str(ours.folder)]) == 2
    assert "no key to log in with" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    assert cli.main(["compare", name(LSTM), "gru", "--from", str(ours.folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("can't be reached: Connection refused; its runs can't be read without a network")
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    assert cli.main(["compare", name(LSTM), "gru", "--from", str(ours.folder)]) == 2
    assert "client is set to be offline here; to reach W&B, set WANDB_MODE=online" in capsys.readouterr().err

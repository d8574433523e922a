"""``rnnae-bench reproduce``: real records, made and made again."""

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from rnnae_bench.cli import main
from rnnae_bench.cli.reproduce import sentences
from rnnae_bench.errors import UserError
from rnnae_bench.records.document import document_of, record_from
from rnnae_bench.records.identity import identity
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.trial import trial, verify
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.rebuild import rebuild
from rnnae_bench.trial.reproduce import compare, prediction_interval
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

SMALL = {"task": {"protocol": {"max_steps": 12, "evaluate_every": 6}}, "model": {"hidden_size": 8}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Store:
    """One record made alone (seed 0), two trained as one (seeds 1 and 2)."""
    store = Store(tmp_path_factory.mktemp("runs"))
    pair = Pair("copy:smoke", "gru")
    trials = [Trial(pair, pair.resolve(SMALL), seed) for seed in range(3)]
    trials[0].run(store, ["x"])
    VectorizedTrial(trials[1:]).run(store, ["x"])
    return store


def record_of(runs: Store, seed: int) -> Record:
    return next(record for record in runs.read().records if record.seed == seed)


def reproduce(runs: Store, seed: int, *arguments: str) -> int:
    return main(["reproduce", record_of(runs, seed).id[:10], "--from", str(runs.folder), *arguments])


def test_every_bit_comes_out_the_same(runs, tmp_path, capsys):
    assert reproduce(runs, 0, "--out", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "the same bit for bit" in said
    assert said.endswith("\nreproduced bit for bit\n")
    before, (again,) = record_of(runs, 0), Store(tmp_path).read().records
    assert again.history.sha256 == before.history.sha256
    assert again.metrics == before.metrics


def test_a_full_disk_loses_no_new_record(runs, full_disk, capsys):
    assert reproduce(runs, 0, "--out", str(full_disk)) == 0
    said = capsys.readouterr()
    assert "No space left" in said.err
    assert said.out.endswith("\nreproduced bit for bit\n")
    saved = Path(said.err.partition("the record was saved as ")[2].split()[0])
    assert Store(saved.parent).find(record_of(runs, 0).id) is not None


@pytest.mark.parametrize("seed", [1, 2])
def test_a_trial_trained_with_others_is_trained_with_as_many_again(runs, tmp_path, capsys, seed):
    assert reproduce(runs, seed, "--json", "--out", str(tmp_path)) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["agreement"] == "exact"
    assert (outcome["members_before"], outcome["members_after"]) == (2, 2)
    (again,) = Store(tmp_path).read().records
    assert again.seed == seed


def test_a_forged_value_is_not_reproduced(runs, tmp_path, capsys):
    forged = Store(tmp_path)
    for record in runs.read().records:
        value = record.metrics["test"]["recall_accuracy"] = 0.9 + record.seed / 1000
        primary = replace(record.primary, value=value)
        forged.write(replace(record, primary=primary), runs.series(record))
    assert reproduce(forged, 0) == 1
    said = capsys.readouterr().out
    assert "differs beyond rounding" in said
    assert "test/recall_accuracy 0.9 in the record" in said
    assert "lies outside of where one more of the row's 3 seeds would" in said
    assert said.endswith("\nnot reproduced\n")


@pytest.mark.parametrize(
    ("precision", "now", "agreement"),
    [
        ("32-true", 0.8718, "exact"),
        ("32-true", 0.8718 * (1 + 3e-4), "rounding"),
        ("32-true", 0.8718 * (1 + 4e-4), "different"),
        ("64-true", 0.8718 * (1 + 1e-8), "rounding"),
        ("64-true", 0.8718 * (1 + 2e-8), "different"),
        ("bf16-mixed", 0.8718 * 1.05, "rounding"),
        ("bf16-mixed", 0.6207, "different"),
        ("32-true", 0.6207, "different"),
        ("32-true", None, "different"),
    ],
)
def test_under_one_seed_the_spread_of_seeds_is_no_excuse(make_document, precision, now, agreement):
    def record(seed: int, value: float | None) -> Record:
        one = make_document(value, seed=seed, id=f"{seed:016x}")
        one["environment"]["precision"] = precision
        one["metrics"] = {"test": {} if value is None else {"f1": value}, "validation": {}}
        return record_from(one)

    # The row spreads so widely that .6207 might be one more of its seeds.
    row = [record(seed, value) for seed, value in enumerate((0.8718, 0.55, 0.7, 0.6, 0.9))]
    found = compare(row[0], {}, record(0, now), {}, row)
    assert found.agreement == agreement
    assert found.reproduced == (agreement != "different")
    said = sentences(row[0], [], found)
    assert (
        said[-1]
        == {
            "exact": "reproduced bit for bit",
            "rounding": "reproduced within rounding",
            "different": "not reproduced",
        }[agreement]
    )
    if agreement == "different" and now is not None:
        assert found.inside
        assert found.beyond == {"test/f1": (0.8718, now)}
        assert "lies where one more of the row's 5 seeds would" in said[-2]
        assert said[-2].endswith("under the same seed that is no reproduction")


def test_checking_says_what_differs_and_runs_nothing(runs, tmp_path, capsys):
    record = record_of(runs, 0)
    record.environment.versions["torch"] = "1.0"
    path = Store(tmp_path).write(record, {})
    assert main(["reproduce", str(path), "--check"]) == 0
    assert "torch" in capsys.readouterr().out
    record.fingerprints["test"] = "0" * 16
    path = Store(tmp_path).write(record, {})
    assert main(["reproduce", str(path)]) == 1
    said = capsys.readouterr().out
    assert "data: test" in said
    assert "not run" in said


@pytest.mark.parametrize(
    ("part", "option", "value", "reason"),
    [
        ("trainer", "plugins", [{"class_path": "os.system"}], "trainer.plugins may name code"),
        ("trainer", "profiler", "advanced", "trainer.profiler may name code"),
        ("trainer", "strategy", "antigravity.Strategy", "trainer.strategy may name code"),
        ("trainer", "strategy", {"class_path": "antigravity.X"}, "may name code"),
        ("trainer", "plugins+", "antigravity.X", "no option"),
        ("trainer", "callbacks", ["antigravity.X"], "no option trainer.callbacks"),
        ("model", "hidden_sise", 3, "no option model.hidden_sise; it was removed"),
        ("model", "hidden_size", "many", "it must be a whole number"),
        ("task", "name", "sine", "no option task.name"),
        ("task", "config", "/etc/passwd", "no option task.config"),
    ],
)
def test_a_record_sets_plain_options_only(runs, part, option, value, reason):
    import sys

    record = record_of(runs, 0)
    getattr(record.configuration, part)[option] = value
    with pytest.raises(UserError, match="can't be rebuilt here") as caught:
        rebuild(record)
    assert reason in str(caught.value)
    assert "antigravity" not in sys.modules


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    folder = str(runs.folder)
    for arguments, reason in [
        (["ffffffff", "--from", folder], "there is no record"),
        (["", "--from", folder], "there is no record"),
        ([str(tmp_path / "absent.json")], "No such file|not a file"),
        ([record_of(runs, 0).id, "--from", folder, "--out", folder], "choose another folder"),
        ([record_of(runs, 0).id, "--from", folder, "--threads", "0"], "above 0"),
    ]:
        assert main(["reproduce", *arguments]) == 2
        said = capsys.readouterr().err
        assert any(one in said for one in reason.split("|")), said
    twin = tmp_path / "twin"
    shutil.copytree(runs.folder, twin)
    for number in (1, 2):
        Store(twin).write(replace(record_of(runs, 0), id=f"abcdef000000000{number}"), {})
    assert main(["reproduce", "abc", "--from", str(twin)]) == 2
    assert "give more digits" in capsys.readouterr().err
    stopped = replace(record_of(runs, 0), id="abcdef0000000003", status="timeout")
    assert main(["reproduce", str(Store(twin).write(stopped, {}))]) == 2
    assert "the trial was timeout" in capsys.readouterr().err
    path = twin / "old.json"
    path.write_text(json.dumps({**document_of(record_of(runs, 0)), "schema": 7}))
    assert main(["reproduce", str(path)]) == 2
    assert "can't be read as a record of this version: schema" in capsys.readouterr().err


def test_the_interval_is_that_of_one_more_value():
    """1000 rows of six normal values: the seventh lies in the interval of the six 95 times of 100."""
    import numpy as np

    draws = np.random.default_rng(0).normal(3, 2, (1000, 7))
    inside = 0
    for row in draws:
        low, high = prediction_interval(row[:6].tolist())
        inside += low <= row[6] <= high
    assert 930 <= inside <= 970
    assert prediction_interval([1.0, 2.0]) is None


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda record: record.update(id="0" * 16), "its id is 0000000000000000"),
        (lambda record: record.update(model="grue"), "there is no model 'grue'"),
        (lambda record: record["fingerprints"].update(test="0" * 16), "its test data are not those of"),
        (lambda record: record["primary"].update(solved_at=0.5), "its solved_at is 0.5"),
        (lambda record: record["baselines"].update(mine={}), "its baselines are not the task's"),
        (lambda record: record["measures"].update(parameters=7), "it has 7 weights"),
        (lambda record: record["overrides"].clear(), "says that it differs from the defaults in nothing"),
        (lambda record: record["configuration"]["task"].update(delay=1), "leaves the frozen variant in task.delay"),
        (lambda record: record["configuration"]["model"].update(layers=2), "weights, and its model"),
        # 12 TB of weights, which nobody makes room for.
        (lambda record: record["configuration"]["model"].update(hidden_size=10**6), "and its model 3000045000009"),
        (lambda record: record.update(seed=1), "its id is"),
    ],
)
def test_a_record_that_this_installation_knows_better(tmp_path_factory, scored, edit, reason):
    record = json.loads(json.dumps(scored))
    assert objections(record) == ([], [])
    edit(record)
    assert any(reason in one for one in objections(record)[0]), objections(record)


def objections(document: dict) -> tuple[list[str], list[str]]:
    """What this installation has against a record that is given as plain data."""
    return verify.objections(record_from(document))


@pytest.fixture(scope="module")
def scored() -> dict:
    """The record of a trial of a frozen variant, as if it had been trained."""
    pair = Pair("copy:smoke", "gru")
    made = Trial(pair, pair.resolve({"model": {"hidden_size": 8}}), 0)
    record = document_of(made.unmeasured("ok", ""))
    record["measures"]["steps"] = made.task.protocol.max_steps
    record["measures"]["parameters"] = sum(weight.numel() for weight in made.build_model().parameters())
    return json.loads(json.dumps(record))


def with_its_id(record: dict) -> dict:
    """A record as the version that it names would have made it."""
    there = record["environment"]
    layout = {name: there[name] for name in ("accelerator", "devices", "precision")}
    layout["strategy"] = "SingleDeviceStrategy"
    seeds = record["seed"], record["data_seed"]
    label = f"{record['task']}:{record['variant']}"
    return {
        **record,
        "id": identity(label, record["model"], record["configuration"], layout, seeds, there["plugins"]),
    }


def test_a_record_of_another_version_is_checked_all_the_same(scored):
    assert with_its_id(scored) == scored
    older = json.loads(json.dumps(scored))
    older["environment"]["plugins"] = {"rnnae-bench": "0.0.1"}
    assert "its id is" in objections(older)[0][0]
    remark = f"made with rnnae-bench 0.0.1, and checked with {scored['environment']['plugins']['rnnae-bench']}"
    assert objections(with_its_id(older)) == ([], [remark])
    # An option that there was not: its default here is what it did.
    del older["configuration"]["model"]["update_bias"]
    assert objections(with_its_id(older)) == ([], [remark])
    gpu = {**scored, "environment": {**scored["environment"], "accelerator": "cuda"}}
    assert "its id is" in objections(gpu)[0][0]


@pytest.mark.parametrize("version", [None, "0.0.1"])
@pytest.mark.parametrize(
    "relabel",
    [
        lambda record: record.update(model="lstm"),
        lambda record: record.update(model="rnn"),
        lambda record: record.update(variant="standard"),
        lambda record: record["overrides"].update({"model.hidden_size": 16}),
        lambda record: record["overrides"].clear(),
        lambda record: record["environment"].update(devices=2),
    ],
)
def test_a_record_under_another_name_is_refused_whatever_version_it_claims(scored, relabel, version):
    record = json.loads(json.dumps(scored))
    relabel(record)
    if version:
        record["environment"]["plugins"]["rnnae-bench"] = version
    assert objections(record)[0]


def test_a_model_that_takes_too_much_to_be_built_is_refused_in_time(scored, monkeypatch):
    monkeypatch.setattr(trial, "BUILD_SECONDS", 0.25)
    record = json.loads(json.dumps(scored))
    record["configuration"]["model"]["layers"] = 20_000_000
    record["overrides"]["model.layers"] = 20_000_000
    assert objections(with_its_id(record))[0] == ["building the model takes more than 0.25 s"]
    with pytest.raises(UserError, match=r"can't be rebuilt here: building the model takes more than 0\.25 s"):
        rebuild(record_from(record))

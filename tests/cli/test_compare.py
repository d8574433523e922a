"""``rnnae-bench compare`` over records on disk."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from rnnae_bench.cli import compare
from rnnae_bench.errors import UserError
from rnnae_bench.results.store import Store

GRU, LSTM = [0.98, 0.97, 0.99, 0.98, 0.96], [0.52, 0.47, 0.55, 0.41, 0.5]


@pytest.fixture
def folder(tmp_path, make_record):
    store, number = Store(tmp_path / "runs"), 0
    for model, values, size in (("gru", GRU, None), ("lstm", LSTM, None), ("gru", [0.97] * 3 + [0.99, 0.97], 64)):
        for seed, value in enumerate(values):
            record = make_record(value, model=model, seed=seed, id=f"{number:016x}")
            record["configuration"]["model"] = {"hidden_size": size or 128}
            record["overrides"] = {} if size is None else {"model.hidden_size": size}
            record["measures"] |= {"training_seconds": 4.0 if model == "lstm" else 2.0}
            store.write(record, {})
            number += 1
    store.write(make_record(0.4, model="lstm", task="sine", id="f" * 16), {})
    return store.folder


def run(capsys, *arguments):
    assert compare.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_verdict_is_a_sentence_with_what_it_rests_on(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = run(capsys, "gru", "lstm", "--task", "copy", "--from", folder)
    assert said.startswith("gru is better than lstm on copy:standard: recall_accuracy +0.486 [")
    assert "5 shared seeds, p = 0.002" in said
    assert "x 0.5" in said
    assert "among all pairs of the 3 ranked rows of copy:standard" in said
    opposite = run(capsys, "lstm", "gru", "--from", folder)
    assert opposite.startswith("lstm is worse than gru on copy:standard: recall_accuracy -0.486 [")


def test_as_json_the_numbers_are_scipys(folder, capsys):
    (found,) = json.loads(run(capsys, "gru", "lstm", "--from", folder, "--json"))
    expected = stats.ttest_rel(GRU, LSTM)
    assert found["comparison"]["p"] == pytest.approx(max(expected.pvalue, 2 / 4**5))
    assert found["among"] == {"rows": 3, "corrected": pytest.approx(2 / 4**5), "verdict": "better"}
    interval = expected.confidence_interval(0.95)
    assert found["comparison"]["difference"]["low"] == pytest.approx(interval.low)
    assert found["comparison"]["superiority"]["value"] == 1.0
    assert found["costs"]["training_seconds"] == {"first": 2.0, "second": 4.0, "ratio": 0.5}
    assert found["first"]["mean"]["value"] == pytest.approx(np.mean(GRU))
    assert found["configuration"] == {"model": {"first": "gru", "second": "lstm"}}


def test_where_nothing_is_established_it_says_how_many_more_seeds(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    said = run(capsys, "gru", "gru[hidden_size=64]", "--from", folder)
    assert said.startswith("no difference between gru and gru[hidden_size=64] on copy:standard is established")
    assert "more seeds would probably show one of this size" in said.splitlines()[0]
    assert "model.hidden_size   128   64" in said


def test_single_records_are_shown_without_a_verdict(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = run(capsys, f"{0:016x}", f"{5:016x}", "--from", folder)
    assert said.startswith("too few seeds for a verdict on gru seed 0 (00000000) and lstm seed 0 (00000000)")
    said = run(capsys, f"{0:016x}", f"{1:016x}", "--from", folder)
    assert "they have no seed in common" in said
    assert "the configurations are the same" in said


def test_the_beginning_of_an_id_is_enough(folder, capsys):
    (found,) = json.loads(run(capsys, "ffff", "lstm", "--task", "sine", "--from", folder, "--json"))
    assert found["first"]["ids"] == found["second"]["ids"] == ["f" * 16]


def test_two_folders_with_the_same_models(folder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    found = json.loads(run(capsys, folder, other, "--task", "copy", "--json"))
    assert [one["first"]["name"].rpartition(": ")[2] for one in found] == ["gru", "gru[hidden_size=64]", "lstm"]
    assert {one["comparison"]["verdict"] for one in found} == {"tied"}
    (one,) = json.loads(run(capsys, folder, other, "--model", "gru", "--json"))
    assert one["second"]["name"] == f"{other}: gru"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("gru", "grux"), "no model or record 'grux'.*models: gru, gru\\[hidden_size=64\\], lstm"),
        (("gru", "lstm", "--task", "sine"), "no model or record 'gru'.*models: lstm"),
        (("gru", "lstm", "--task", "names"), "no record of names; task variants there: copy:standard, sine:standard"),
        (("0000", "gru"), "beginning of 15 records' ids; name one"),
        (("gru", "ffff"), "no task variant has records of both"),
        (("gru", "lstm", "--model", "gru"), "not both folders"),
    ],
)
def test_mistakes_are_told_with_what_there_is(folder, arguments, reason):
    with pytest.raises(UserError, match=reason):
        compare.main([*arguments, "--from", str(folder)])


def test_one_label_of_two_layouts_is_ambiguous(folder, make_record, capsys):
    record = make_record(0.5, seed=0, id="e" * 16, overrides={"model.hidden_size": 64})
    record["configuration"]["model"] = {"hidden_size": 64}
    record["environment"]["precision"] = "bf16-mixed"
    Store(folder).write(record, {})
    with pytest.raises(UserError, match=r"names 2 entries of copy:standard; name one: gru-\w{6} \(1x cpu") as error:
        compare.main(["gru[hidden_size=64]", "lstm", "--from", str(folder)])
    key = str(error.value).rpartition(" (")[0].rpartition(" ")[2]
    (found,) = json.loads(run(capsys, key, "lstm", "--from", folder, "--json"))
    assert len(found["first"]["ids"]) in (1, 5)

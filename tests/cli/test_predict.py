"""`predict`: what a kept model answers is what the trial measured, and every mistake is a line."""

import json

import numpy as np
import pytest
import torch

import rnnae_bench
from rnnae_bench.cli import main

FEW = {"protocol": {"max_steps": 30, "evaluate_every": 30}, "evaluation_size": 40}


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A trial of copy:smoke whose weights were kept."""
    out = tmp_path_factory.mktemp("runs")
    options = {"hidden_size": 8, "task_options": FEW, "keep": "weights", "progress": False, "out": out}
    return rnnae_bench.run("copy:smoke", "gru", **options)[0]


def test_the_answers_are_those_that_were_scored(trial):
    (loaded,) = rnnae_bench.load(trial.path.parent)
    found = loaded.predict()
    assert found["inputs"].shape == (40, 8)
    right = found["prediction"].argmax(-1) == found["targets"]
    assert right[found["mask"]].mean() == pytest.approx(trial.record.primary.value, abs=1e-6)
    np.testing.assert_array_equal(found["prediction"], trial.predict()["prediction"])
    inputs = torch.from_numpy(found["inputs"])
    np.testing.assert_allclose(loaded.model(inputs).detach().numpy(), found["prediction"], atol=1e-6)


def test_samples_are_rows_of_the_same_answers(trial):
    whole, kept = trial.predict(), trial.samples
    np.testing.assert_allclose(kept["prediction"], whole["prediction"][kept["rows"]], atol=1e-6)
    np.testing.assert_array_equal(kept["mask"], whole["mask"][kept["rows"]])


def test_the_command_writes_arrays_and_a_picture(trial, tmp_path, capsys):
    arrays, drawn = tmp_path / "a.npz", tmp_path / "a.png"
    given = [trial.record.id[:6], "--from", str(trial.path.parent), "--rows", "3", "--on", "validation"]
    assert main(["predict", *given, "--out", str(arrays), "--picture", str(drawn)]) == 0
    told = capsys.readouterr().out
    assert "3 rows" in told
    assert "target  ....." in told
    with np.load(arrays) as content:
        assert content["rows"].tolist() == [0, 13, 26]
        expected = trial.predict("validation", 3)["prediction"]
        np.testing.assert_array_equal(content["prediction"], expected)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert main(["predict", *given, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["set"], document["rows"], document["shapes"]["prediction"]) == ("validation", 3, [3, 8, 9])
    np.testing.assert_allclose(document["arrays"]["prediction"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--on", "tset"], "no evaluation set 'tset'; it has validation, test"),
        (["--rows", "0"], "rows"),
        (["--out", "a.txt"], "name a file that ends in .npz"),
        (["--picture", "nowhere/a.png"], "nowhere"),
    ],
)
def test_mistakes_are_a_line(trial, given, said, capsys):
    assert main(["predict", trial.record.id, "--from", str(trial.path.parent), *given]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_without_weights_it_says_how_to_keep_them(tmp_path, make_record, capsys):
    from rnnae_bench.records.store import Store

    Store(tmp_path).write(make_record(), {})
    assert main(["predict", make_record().id, "--from", str(tmp_path)]) == 2
    assert "run it again with --keep weights" in capsys.readouterr().err


def test_a_class_of_ones_own_predicts_where_it_was_trained(tmp_path):
    from rnnae_bench.models.recurrent import RNN

    class Mine(RNN):
        """The same, not installed."""

    (found,) = rnnae_bench.run("copy:smoke", Mine, hidden_size=4, task_options=FEW, progress=False, out=tmp_path)
    assert found.predict(rows=2)["prediction"].shape == (2, 8, 9)

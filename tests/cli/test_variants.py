"""Variants that supersede others: by name in every command, with floor and ceiling by baselines, and in ``show``."""

import json
import re

import pytest

from rnnae_bench.cli import main
from rnnae_bench.leaderboard.site.build import build
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.grid import Axes, settings

STEPS = {"protocol.max_steps": 2, "protocol.evaluate_every": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("variants") / "runs")
    options = [word for name, value in STEPS.items() for word in (f"--task.{name}", str(value))]
    model = ["--model", "rnn", "--model.hidden_size", "4"]
    assert main(["run", "--task", "sine:standard.v2", *model, *options, "--out", str(store.folder)]) == 0
    return store


def test_a_record_has_floor_and_ceiling_of_its_baselines(store):
    (record,) = store.read().records
    primary, baselines = record.primary, record.baselines
    assert record.variant == "standard.v2"
    assert (primary.floor_baseline, primary.ceiling_baseline) == ("least_squares", "bayes")
    assert primary.floor == baselines["least_squares"]["rollout_mse"] == pytest.approx(0.0491, abs=5e-5)
    assert primary.ceiling == baselines["bayes"]["rollout_mse"] == pytest.approx(0.0239, abs=5e-5)
    expected = (primary.value - primary.floor) / (primary.ceiling - primary.floor)
    assert primary.score == pytest.approx(expected)


def test_a_name_with_a_dot_is_understood_by_every_command(store, tmp_path, capsys):
    folder = str(store.folder)
    capsys.readouterr()
    assert main(["results", folder, "--task", "sine:standard.v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["variant"] == "standard.v2"
    assert main(["query", "select variant, floor from trials where variant = 'standard.v2'", "--from", folder]) == 0
    assert "standard.v2" in capsys.readouterr().out
    count = "select count(*) n from examples where name = 'test/examples/rollout_mse'"
    assert main(["query", count, "--from", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 931}]
    bracket = ",".join(f"{name}={value}" for name, value in STEPS.items())
    (setting,) = settings(Axes([f"sine:standard.v2[{bracket}]"], ["rnn[hidden_size=4]"]))
    assert setting == Setting(
        "sine:standard.v2",
        "rnn",
        {"task": {"protocol": {"max_steps": 2, "evaluate_every": 2}}, "model": {"hidden_size": 4}},
    )
    pages = build(store, tmp_path / "site").out
    (page,) = [path for path in (pages / "tasks").iterdir() if path.suffix == ".html"]
    assert f"tasks/{page.name}" in (pages / "index.html").read_text(encoding="utf-8")


def test_show_says_what_supersedes_and_what_a_score_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show", "task", "sine"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "go on alone. Superseded by standard.v2." in said
    assert "The ceiling of standard.v2, long.v2 is a proven optimum, so that 1 - score is a regret" in said
    assert re.search(
        r"standard\.v2 3000 64 - rollout_mse minimize 0\.0491469 \(least_squares\) 0\.023914 \(bayes\)", said
    )
    assert main(["show", "task", "denoise:standard", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["variants"]["standard"]["superseded_by"] == "standard.v2"
    assert "mirrored" in shown["retired"]["ssim"]

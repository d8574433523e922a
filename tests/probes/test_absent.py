"""What a probe can't measure is absent from the record, with the reason, and the trial goes on."""

import logging

import numpy as np
import pytest

from rnnae_bench.cli.run import main
from rnnae_bench.probes import Cost, Diverged, Evaluation, GradientFlow, GradientNorms, TrainingCurve, Underflow
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

OPTIONS = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "model": {"hidden_size": 4}}


def trial() -> Trial:
    pair = Pair("copy:smoke", "gru")
    return Trial(pair, pair.resolve(OPTIONS), seed=0)


def run(folder) -> tuple:
    outcome = trial().run(Store(folder), ["x"])
    (record,) = Store(folder).read().records
    return record, outcome.series


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def failing(original, step: int, error: Exception):
    """A hook of optimiser steps that raises at one of them."""

    def hook(self, trainer, pl_module, number, *others):
        if number == step:
            raise error
        return original(self, trainer, pl_module, number, *others)

    return hook


@pytest.mark.parametrize("probe", [GradientNorms, Underflow, GradientFlow, Cost, TrainingCurve])
def test_a_probe_that_fails_is_switched_off_and_the_trial_goes_on(probe, whole, tmp_path, monkeypatch):
    class Failing(probe):
        on_optimizer_step = failing(probe.on_optimizer_step, 4, ZeroDivisionError("by\nzero"))

    monkeypatch.setattr(f"rnnae_bench.trial.trial.{probe.__name__}", Failing)
    record, series = run(tmp_path)
    expected, complete = whole
    assert record.status == "ok"
    assert record.absent == {probe.subject: "ZeroDivisionError: by zero"}
    assert record.metrics == expected.metrics
    assert expected.absent == {}
    # Of the probe itself only what it had measured before; of all others everything.
    for name, one in series.items():
        last = one.steps[-1]
        np.testing.assert_array_equal(one.values, complete[name].values[complete[name].steps <= last])
        assert last == complete[name].steps[-1] or name.startswith((probe.subject, "input_saliency", "learning_rate"))


def test_the_score_is_not_optional(tmp_path, monkeypatch):
    class Failing(Evaluation):
        def on_validation_epoch_end(self, trainer, pl_module):
            raise ZeroDivisionError("by zero")

    monkeypatch.setattr("rnnae_bench.trial.trial.Evaluation", Failing)
    record, _ = run(tmp_path)
    assert record.status == "error"
    assert record.failure.message == "ZeroDivisionError: by zero"


def test_divergence_still_ends_a_trial(tmp_path, monkeypatch):
    class Failing(GradientNorms):
        on_optimizer_step = failing(GradientNorms.on_optimizer_step, 4, Diverged(4))

    monkeypatch.setattr("rnnae_bench.trial.trial.GradientNorms", Failing)
    record, _ = run(tmp_path)
    assert record.status == "diverged"
    assert record.failure.step == 4


def test_what_fails_when_asked_for_its_results_is_absent_too(tmp_path, monkeypatch):
    class Failing(Underflow):
        def series(self):
            raise ValueError("x" * 1000)

    monkeypatch.setattr("rnnae_bench.trial.trial.Underflow", Failing)
    record, series = run(tmp_path)
    assert record.status == "ok"
    assert "gradient_underflow" not in series
    assert record.absent["gradient_underflow"].startswith("ValueError: ")
    assert len(record.absent["gradient_underflow"]) <= 300


def test_the_run_says_what_it_did_not_measure(tmp_path, monkeypatch, capsys):
    class Failing(Underflow):
        on_optimizer_step = failing(Underflow.on_optimizer_step, 1, ValueError("no [red] gradient"))

    monkeypatch.setattr("rnnae_bench.trial.trial.Underflow", Failing)
    arguments = ["--task", "copy:smoke", "--model", "gru", "--model.hidden_size", "4"]
    arguments += ["--task.protocol.max_steps", "2", "--task.protocol.evaluate_every", "2"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert "not measured: gradient_underflow: ValueError: no [red] gradient" in capsys.readouterr().err

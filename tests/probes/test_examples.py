"""The scores of test examples: their mean is the metric, and their order that of the test set."""

import logging
import re

import numpy as np
import pytest
import torch
from rnnae_tasks.names.datamodule import NamesTask
from sklearn.metrics import balanced_accuracy_score

from rnnae_bench.records.store import Store
from rnnae_bench.testing import check_task
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def run(folder, task: str = "copy:smoke", model: str = "gru", **protocol):
    pair = Pair(task, model)
    protocol = {"max_steps": 4, "evaluate_every": 2} | protocol
    trial = Trial(pair, pair.resolve({"task": {"protocol": protocol}, "model": {"hidden_size": 4}}), seed=0)
    outcome = trial.run(Store(folder), ["x"])
    (record,) = Store(folder).read().records
    return record, Store(folder).series(record), outcome


@pytest.mark.parametrize("task", ["copy:smoke", "sine:smoke", "denoise:smoke"])
def test_the_mean_over_examples_is_the_metric(task, tmp_path):
    record, series, _ = run(tmp_path, task)
    primary = record.primary
    (scores,) = series[f"test/examples/{primary.metric}"].values
    assert scores.dtype == np.float32
    assert scores.mean(dtype=np.float64) == pytest.approx(primary.value, rel=1e-6)
    assert record.measures.by_name["test_examples_block"] == (40 if task == "sine:smoke" else 1)


def test_the_order_is_the_test_sets_in_batches_of_any_size(tmp_path):
    whole = run(tmp_path / "whole")[1]["test/examples/recall_accuracy"].values
    batches = run(tmp_path / "batches", evaluation_batch_size=7)[1]["test/examples/recall_accuracy"].values
    assert whole.shape == (1, 200)
    assert len(np.unique(whole)) > 1
    assert (whole == batches).mean() > 0.99  # another product's rounding may turn a symbol over


def test_balanced_accuracy_is_the_mean_of_weighed_names():
    task = NamesTask()
    batch = task.evaluation_set("test")
    logits = torch.randn(len(batch.targets), 21, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(len(batch.targets)), batch.targets] += 2
    scores = torch.cat(
        [
            task.example_scores("balanced_accuracy", logits[rows], batch.rows(rows))
            for rows in torch.arange(len(logits)).split(700)
        ]
    )
    expected = balanced_accuracy_score(batch.targets, logits.argmax(1))
    assert scores.double().mean().item() == pytest.approx(expected, rel=1e-6)
    assert task.example_scores("loss", logits, batch) is None


def test_a_task_without_them_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(Pair("copy:smoke", "gru").task_class, "example_scores", lambda *_: None)
    record, series, _ = run(tmp_path)
    assert record.status == "ok"
    assert not [name for name in series if name.startswith("test/")]
    assert "test_examples_block" not in record.measures.by_name


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(2.0, "no attribute"), (torch.zeros(3), r"gave \(3,\) for 200 rows")],
    ids=["number", "short"],
)
def test_scores_that_are_none_end_no_trial(answer, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(Pair("copy:smoke", "gru").task_class, "example_scores", lambda *_: answer)
    record, series, _ = run(tmp_path)
    assert record.status == "ok"
    assert "test/examples/recall_accuracy" not in series
    (absent,) = record.absent.items()
    assert absent[0] == "test/examples/recall_accuracy"
    assert re.search(reason, absent[1])


def test_the_exam_refuses_scores_of_another_mean(monkeypatch):
    task = Pair("copy:smoke", "gru").task_class
    monkeypatch.setattr(task, "example_scores", lambda self, metric, prediction, batch: torch.ones(len(batch.targets)))
    with pytest.raises(AssertionError, match="give numbers whose mean over the test set is the metric"):
        check_task(task)

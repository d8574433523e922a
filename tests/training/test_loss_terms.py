"""Named terms of a loss: their sum is minimised, and each stands in the histories, whichever way a trial is trained."""

import numpy as np
import pytest
import torch
from lightning import LightningModule
from rnnae_tasks.copy.datamodule import CopyTask

from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.records.store import Store
from rnnae_bench.report.trial_picture import picture
from rnnae_bench.testing import check_task
from rnnae_bench.training.loss_terms import minimised
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

STEPS = 6


class InHalves(GRU):
    """Its loss in two terms, one a quarter of it, which add up to the bits of the whole."""

    def training_loss(self, batch):
        loss = super().training_loss(batch)
        return {"little": 0.25 * loss, "much": 0.75 * loss}


class CopyInHalves(CopyTask):
    """The same, from the task."""

    card = CopyTask.card

    def loss(self, prediction, batch):
        loss = super().loss(prediction, batch)
        return {"little": 0.25 * loss, "much": 0.75 * loss}


def trial(model_class: type = GRU, task_class: type = CopyTask, seed: int = 0, **trainer) -> Trial:
    pair = Pair("copy:smoke", "gru")
    pair.model_class, pair.task_class = model_class, task_class
    options = {
        "task": {"protocol": {"max_steps": STEPS, "evaluate_every": STEPS, "batch_size": 8}, "evaluation_size": 20},
        "model": {"hidden_size": 4},
        "trainer": {"accelerator": "cpu", "precision": "64-true", **trainer},
    }
    return Trial(pair, pair.resolve(options), seed)


def outcome_of(made: Trial, folder):
    outcome = made.run(Store(folder), ["x"])
    assert outcome.record.status == "ok", outcome.record.failure
    return outcome


@pytest.mark.parametrize("trainer", [{}, {"accumulate_grad_batches": 2}], ids=["blocks", "accumulated"])
def test_the_sum_is_minimised_and_the_terms_are_kept(trainer, tmp_path):
    plain = outcome_of(trial(**trainer), tmp_path / "plain").series
    for name, made in (("model", trial(InHalves, **trainer)), ("task", trial(task_class=CopyInHalves, **trainer))):
        outcome = outcome_of(made, tmp_path / name)
        series = outcome.series
        assert set(series) == {*plain, "loss/little", "loss/much"}
        for column in plain:
            np.testing.assert_allclose(series[column].values, plain[column].values, rtol=1e-9, err_msg=column)
        assert series["loss/little"].steps.tolist() == list(range(1, STEPS + 1))
        np.testing.assert_allclose(series["loss/little"].values, 0.25 * plain["loss"].values, rtol=1e-9)
        np.testing.assert_allclose(series["loss/much"].values, 0.75 * plain["loss"].values, rtol=1e-9)
        (record,) = Store(tmp_path / name).read().records
        assert "loss/much" in record.history.columns
        assert not any(name.startswith("loss") for name in record.absent)
        assert picture(record, series).startswith(b"\x89PNG")


def test_members_trained_as_one_keep_their_terms(tmp_path):
    together = VectorizedTrial([trial(task_class=CopyInHalves, seed=seed) for seed in (0, 1)])
    for seed, outcome in enumerate(together.run(Store(tmp_path / "together"), ["x"])):
        alone = outcome_of(trial(task_class=CopyInHalves, seed=seed), tmp_path / "alone")
        assert list(outcome.series) == list(alone.series)
        for column in ("loss", "loss/little", "loss/much"):
            np.testing.assert_allclose(outcome.series[column].values, alone.series[column].values, rtol=1e-9)


def test_a_lightning_module_of_ones_own_gives_terms_beside_the_loss(tmp_path):
    class Own(GRU):
        def training_step(self, batch, batch_idx):
            loss = self.task.total_loss(self(batch.inputs, batch.lengths), batch)
            return {"loss": loss, "loss_terms": {"double": 2 * loss.detach()}}

    assert issubclass(Own, LightningModule)
    series = outcome_of(trial(Own), tmp_path).series
    np.testing.assert_allclose(series["loss/double"].values, 2 * series["loss"].values)


def test_a_task_is_examined_term_by_term():
    class Sums(CopyInHalves):
        def loss(self, prediction, batch):
            one = super().loss(prediction, batch)["little"]
            return {"mean": one, "sum": one * len(batch.targets), "less": -one * len(batch.targets)}

    check_task(CopyInHalves, "smoke")
    with pytest.raises(AssertionError, match=r"the loss' term 'sum' is .* must be a mean over the rows"):
        check_task(Sums, "smoke")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            torch.zeros(3),
            "X.loss gave a tensor [3] of float32; give a scalar tensor, the mean over the rows of the batch",
        ),
        ({"a": torch.zeros(2)}, "X.loss gave as 'a' a tensor [2] of float32; give a scalar tensor, the mean over"),
        ({"a": 1.0}, "X.loss gave as 'a' a value of type float; give a scalar tensor"),
        ({1: torch.tensor(1.0)}, "X.loss gave a term named 1; name each by a word of letters"),
        ({"a/b": torch.tensor(1.0)}, "X.loss gave a term named 'a/b'; name each by a word"),
        ({}, "X.loss gave an empty dict; give a scalar tensor, or a dict of some by name"),
        (None, "X.loss gave a value of type NoneType; give a scalar tensor, or a dict"),
        (torch.tensor(1), "X.loss gave a tensor [] of int64; give a scalar tensor"),
    ],
)
def test_what_is_no_loss_is_told_in_a_line(loss, said):
    with pytest.raises(UserError) as refused:
        minimised(loss, "X.loss")
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_terms_that_change_end_the_trial_with_a_line(accumulate, tmp_path):
    class Moody(GRU):
        calls = 0

        def training_loss(self, batch):
            self.calls += 1
            loss = super().training_loss(batch)
            return {"always": loss} if self.calls < 3 else {"always": loss, "late": loss}

    record = trial(Moody, accumulate_grad_batches=accumulate).run(Store(tmp_path), ["x"]).record
    assert record.status == "error"
    assert "Moody.training_loss gave the terms always, late at one step and always before" in record.failure.message


def test_a_term_that_is_not_finite_is_a_divergence(tmp_path):
    class Exploding(GRU):
        calls = 0

        def training_loss(self, batch):
            self.calls += 1
            loss = super().training_loss(batch)
            return {
                "up": loss + (torch.inf if self.calls == 3 else 0),
                "down": loss - (torch.inf if self.calls == 3 else 0),
            }

    record = trial(Exploding).run(Store(tmp_path), ["x"]).record
    assert (record.status, record.failure.step) == ("diverged", 3)

"""Models that optimise in their own way: the same budget, the same evaluations, and the loss of the whole step."""

import copy
import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import nn

from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError
from rnnae_bench.probes import NoPrediction
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

STEPS, EVERY = 12, 6


class Plain(LightningModule):
    """A LightningModule of somebody's own, with torch's GRU."""

    sparse = False

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__()
        self.emb = nn.Embedding(spec.inputs.vocabulary, 8, sparse=self.sparse)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.out = self.head(spec.outputs.count)

    def head(self, size: int) -> nn.Module:
        return nn.Linear(8, size)

    def forward(self, inputs, lengths=None):
        return self.out(self.rnn(self.emb(inputs))[0])

    def loss_of(self, batch):
        return self.trainer.datamodule.loss(self(batch.inputs, batch.lengths), batch)

    def training_step(self, batch, batch_idx):
        return self.loss_of(batch)

    def validation_step(self, batch, batch_idx):
        return self(batch.inputs, batch.lengths)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trial(model_class: type, max_steps: int = STEPS, **trainer) -> Trial:
    pair = Pair("copy:smoke", "gru")
    pair.model_class = model_class
    options = {"task": {"protocol": {"max_steps": max_steps, "evaluate_every": EVERY}}, "trainer": trainer}
    resolved = pair.resolve(options)
    resolved["model"] = {}
    pair._instantiate = lambda part, given, own=pair._instantiate: {} if part == "model" else own(part, given)
    return Trial(pair, resolved, 0)


def run(made: Trial, folder) -> tuple[dict, dict]:
    outcome = made.run(Store(folder), ["x"])
    (record,) = Store(folder).read().records
    return record, outcome.series


def whole(record: dict, series: dict) -> None:
    """The trial had its budget, and its evaluations when they were due."""
    assert record.status == "ok", record.failure
    assert record.measures.steps == STEPS
    assert series["validation/recall_accuracy"].steps.tolist() == [EVERY, STEPS]
    assert record.primary.value is not None


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    found = run(trial(Plain), tmp_path_factory.mktemp("plain"))
    whole(*found)
    return found


class Manual(Plain):
    """The optimiser steps of `Plain` by hand, with one optimiser for the embedding and one for the rest."""

    def __init__(self, spec):
        super().__init__(spec)
        self.automatic_optimization = False

    def configure_optimizers(self):
        rest = [*self.rnn.parameters(), *self.out.parameters()]
        return torch.optim.SGD(self.emb.parameters(), 0.1), torch.optim.SGD(rest, 0.1)

    def training_step(self, batch, batch_idx):
        loss = self.loss_of(batch)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss


def test_several_optimisers_by_hand_get_the_same_budget_and_norms(plain, tmp_path):
    record, series = run(trial(Manual), tmp_path)
    whole(record, series)
    assert record.absent == {}
    assert series.keys() == plain[1].keys()
    for name, one in plain[1].items():
        np.testing.assert_array_equal(series[name].steps, one.steps)
        np.testing.assert_allclose(series[name].values, one.values, rtol=1e-6)
    assert record.metrics == plain[0].metrics


class ManualClipped(Manual):
    """Clips by hand, zeroes at the end, and leaves the second optimiser out of every other batch; returns nothing."""

    def training_step(self, batch, batch_idx):
        loss = self.loss_of(batch)
        self.manual_backward(loss)
        embedding, rest = self.optimizers()
        self.clip_gradients(embedding, 1e-4, "norm")
        embedding.step()
        if batch_idx % 2:
            rest.step()
            rest.step()
        embedding.zero_grad()
        rest.zero_grad()


def test_what_is_clipped_by_hand_is_measured_before_and_after(tmp_path):
    record, series = run(trial(ManualClipped), tmp_path)
    whole(record, series)
    assert record.absent == {"loss": "the model's training_step returned no loss, at one step at least"}
    assert "loss" not in series
    embedding, total = series["gradient_norm/emb"].values, series["gradient_norm"].values
    clipped = series["gradient_norm_clipped"].values
    assert (embedding > 1e-4).all()
    np.testing.assert_allclose(clipped[::2], 1e-4, rtol=1e-2)
    np.testing.assert_allclose(total[::2], embedding[::2])
    rest = np.sqrt(series["gradient_norm/rnn.l0"].values ** 2 + series["gradient_norm/out"].values ** 2)
    np.testing.assert_allclose(clipped[1::2], np.hypot(rest[1::2], 1e-4), rtol=1e-2)
    assert (rest[1::2] > 1e-3).all()
    assert not rest[::2].any()


class ByEpoch(Plain):
    """Halves its learning rate every epoch, in Lightning's usual form."""

    epochs = 0

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    def on_train_epoch_end(self):
        type(self).epochs += 1


class OnPlateau(Plain):
    """Halves its learning rate where a metric that never falls did not fall."""

    def validation_step(self, batch, batch_idx):
        self.log("level", torch.tensor(1.0))
        return super().validation_step(batch, batch_idx)

    test_step = Plain.validation_step

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "level"}}


@pytest.mark.parametrize(("model_class", "rates"), [(ByEpoch, [0.1, 0.05, 0.025]), (OnPlateau, [0.1, 0.1, 0.05])])
def test_an_epoch_is_what_lies_between_two_evaluations(model_class, rates, tmp_path):
    record, series = run(trial(model_class, max_steps=15), tmp_path)
    assert record.status == "ok", record.failure
    np.testing.assert_allclose(series["learning_rate"].values, np.repeat(rates, [6, 6, 3]))
    assert series["validation/recall_accuracy"].steps.tolist() == [6, 12]
    assert ByEpoch.epochs == 3 or model_class is not ByEpoch


class ByClosure(Plain):
    """A quasi-Newton method, which evaluates a batch several times."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), 0.1, max_iter=3)


def test_an_optimiser_that_calls_its_closure_again_has_the_same_budget(plain, tmp_path):
    record, series = run(trial(ByClosure), tmp_path)
    whole(record, series)
    assert series["loss"].steps.tolist() == list(range(1, STEPS + 1))
    assert series["gradient_norm"].steps.tolist() == list(range(1, STEPS + 1))
    assert series["loss"].values[-1] < plain[1]["loss"].values[-1]


class TwoForLightning(Plain):
    """Several optimisers, and no steps by hand."""

    def configure_optimizers(self):
        return [torch.optim.SGD(self.emb.parameters(), 0.1), torch.optim.SGD(self.rnn.parameters(), 0.1)]


class PlateauOfNothing(Plain):
    """A schedule that does not say what it goes by."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)]


@pytest.mark.parametrize(
    ("model_class", "said"),
    [
        (TwoForLightning, "TwoForLightning.configure_optimizers returns 2 optimisers, and Lightning steps one; set"),
        (PlateauOfNothing, "PlateauOfNothing.configure_optimizers returns a ReduceLROnPlateau without the metric"),
    ],
)
def test_optimisers_that_cannot_work_are_refused_before_any_work(model_class, said):
    with pytest.raises(UserError, match=said):
        trial(model_class)


class NoOptimizer(Plain):
    """Is not trained."""

    def configure_optimizers(self):
        return None


class NoLoss(Plain):
    """Skips every third step, as Lightning allows."""

    def training_step(self, batch, batch_idx):
        return None if batch_idx % 3 == 2 else super().training_step(batch, batch_idx)


class Lazy(Plain):
    """A layer that learns its shape from the first input."""

    def head(self, size):
        return nn.LazyLinear(size)


def test_a_model_without_an_optimiser_is_scored(plain, tmp_path):
    record, series = run(trial(NoOptimizer), tmp_path)
    whole(record, series)
    assert record.absent == {"learning_rate": "the model has no optimiser"}
    assert series["loss"].steps.tolist() == [*range(1, STEPS + 1)]
    # The weights stay what they were at the first step.
    np.testing.assert_allclose(series["gradient_norm"].values[0], plain[1]["gradient_norm"].values[0])


def test_steps_without_a_loss_are_missing_from_its_column_alone(tmp_path):
    record, series = run(trial(NoLoss), tmp_path)
    whole(record, series)
    assert series["loss"].steps.tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    assert series["gradient_norm"].values[2::3].tolist() == [0.0] * 4
    assert list(record.absent) == ["loss"]


def test_lazy_layers_are_measured(plain, tmp_path):
    record, series = run(trial(Lazy), tmp_path)
    whole(record, series)
    assert record.absent == {}
    assert record.measures.parameters == plain[0].measures.parameters > 0
    assert (series["gradient_norm/out"].values > 0).all()


class Sparse(Plain):
    """A sparse embedding."""

    sparse = True


def test_sparse_gradients_have_the_norms_of_their_dense_twin(plain, tmp_path):
    record, series = run(trial(Sparse), tmp_path)
    whole(record, series)
    assert record.absent == {}
    assert series.keys() == plain[1].keys()
    for name, one in plain[1].items():
        np.testing.assert_allclose(series[name].values, one.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("option", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.5}])
def test_what_lightning_cannot_do_for_steps_by_hand_is_refused_before_any_work(option):
    with pytest.raises(UserError, match=rf"--trainer\.{next(iter(option))} .* does its own"):
        trial(Manual, **option)


def test_the_loss_of_a_step_over_several_batches_is_their_mean(tmp_path):
    class Still(Plain):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    _, single = run(trial(Still, max_steps=24), tmp_path / "one")
    record, several = run(trial(Still, max_steps=6, accumulate_grad_batches=4), tmp_path / "four")
    assert record.measures.steps == 6
    expected = single["loss"].values.reshape(6, 4).mean(axis=1)
    np.testing.assert_allclose(several["loss"].values, expected, rtol=1e-6)


class OnlyLogs(Plain):
    """Returns nothing to score."""

    def validation_step(self, batch, batch_idx):
        self.log("level", torch.tensor(1.0), batch_size=len(batch.targets))

    test_step = validation_step


class NoSteps(Plain):
    """Has no evaluation steps of its own."""

    validation_step = LightningModule.validation_step
    test_step = LightningModule.test_step


class AnswersTwice(NoSteps):
    """Returns its prediction and a state."""

    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths), None


def test_what_forward_says_is_scored_where_a_model_has_no_evaluation_steps(tmp_path):
    record, series = run(trial(NoSteps), tmp_path / "without")
    wanted, steps = run(trial(Plain), tmp_path / "with")
    assert record.status == wanted.status == "ok"
    assert record.metrics == wanted.metrics
    np.testing.assert_array_equal(series["validation/loss"].values, steps["validation/loss"].values)


def test_a_forward_that_returns_more_than_the_prediction_is_named():
    made = trial(AnswersTwice)
    model = made.build_model()
    model.trainer = SimpleNamespace(
        datamodule=SimpleNamespace(predict=lambda model, batch: model(batch.inputs, batch.lengths))
    )
    with pytest.raises(NoPrediction, match="forward returned tuple, and what is scored is the prediction"):
        model.validation_step(made.task.evaluation_set("test"), 0)


def test_a_copy_of_a_model_without_evaluation_steps_answers_for_itself(tmp_path):
    made = trial(NoSteps)
    model = made.build_model()
    batch = made.task.evaluation_set("test")
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            for weight in copied.parameters():
                weight.zero_()
        copied.trainer = SimpleNamespace(datamodule=made.task)
        assert not copied.test_step(batch, 0).any()


def test_a_model_that_gives_no_prediction_is_told_before_the_training(tmp_path):
    record, series = run(trial(OnlyLogs), tmp_path)
    assert record.status == "error"
    assert record.measures.steps == 0
    assert "validation_step returned NoneType, and what is scored is the prediction" in record.failure.message
    assert series == {}

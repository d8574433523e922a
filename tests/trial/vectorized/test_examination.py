"""Tasks unlike our four: trained as one they give what each gives alone, or they are refused with the reason."""

import logging
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from rnnae_tasks.copy.datamodule import CopyTask
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.aggregation import CatMetric

from rnnae_bench.contracts.task import Batch
from rnnae_bench.metrics import Accuracy
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.executors.planning import plan
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial, reason_apart

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

OPTIONS = {
    "task": {"evaluation_size": 40, "protocol": {"max_steps": 8, "evaluate_every": 4, "batch_size": 8}},
    "model": {"hidden_size": 6},
    "trainer": {"accelerator": "cpu", "precision": "64-true"},
}
TIMES = {"training_seconds", "steps_per_second", "seconds_to_solved", "peak_memory_bytes"}
"""Measures that differ from run to run."""


def trial(task_class: type[CopyTask], seed: int = 0) -> Trial:
    pair = Pair("copy:smoke", "gru")
    pair.task_class = task_class
    return Trial(pair, pair.resolve(OPTIONS), seed)


def errors(model, batch: Batch) -> torch.Tensor:
    return cross_entropy(model(batch.inputs, batch.lengths).transpose(1, 2), batch.targets, reduction="none").mean(1)


class Threshold(CopyTask):
    """Anomaly detection: a row is judged by the model's errors on rows of the training set, of another number."""

    def predict(self, model, batch):
        threshold = errors(model, self.train_batch(7).rows(slice(0, 5))).median()
        answer = model(batch.inputs, batch.lengths)
        return torch.where((errors(model, batch) > threshold)[:, None, None], -answer, answer)


class Neighbours(CopyTask):
    """The prediction and the loss of a row depend on the other rows; the answer is a number a row."""

    def predict(self, model, batch):
        answer = model(batch.inputs, batch.lengths)
        return (answer - answer.mean(0)).amax((1, 2))

    def loss(self, prediction, batch):
        centred = prediction - prediction.mean(0, keepdim=True)
        return super().loss(prediction, batch) + centred.square().mean()

    def metrics(self):
        return MetricCollection({"recall_accuracy": Kept()})


class Kept(CatMetric):
    """Keeps every number it sees, in lists."""

    def update(self, prediction, targets):
        super().update(prediction)

    def compute(self):
        return super().compute().std()


class Gradients(CopyTask):
    """At evaluation the loss is differentiated by the weights, and the answer comes from there."""

    def predict(self, model, batch):
        with torch.inference_mode(False), torch.enable_grad():
            inputs = batch.inputs.clone()
            (slope,) = torch.autograd.grad(model(inputs).square().mean(), model.head.affine.bias)
        return model(batch.inputs) + 5 * slope


@pytest.mark.parametrize("task_class", [Threshold, Neighbours, Gradients])
def test_evaluation_of_any_kind_is_that_of_the_trial_alone(task_class, tmp_path):
    members = [trial(task_class, seed) for seed in range(3)]
    together = VectorizedTrial(members).run(Store(tmp_path / "together"), ["x"])
    values = []
    for seed, mine in enumerate(together):
        alone = trial(task_class, seed).run(Store(tmp_path / "alone"), ["x"])
        assert mine.record.status == alone.record.status == "ok", mine.record.failure
        assert mine.record.id == alone.record.id
        for split, metrics in alone.record.metrics.items():
            assert mine.record.metrics[split] == pytest.approx(metrics, rel=1e-9, abs=1e-12)
        assert list(mine.series) == list(alone.series)
        for name, series in alone.series.items():
            # Profiles are kept in single precision.
            rounding = 2e-6 if series.values.ndim == 2 else 1e-9
            assert (mine.series[name].steps == series.steps).all()
            assert mine.series[name].values == pytest.approx(series.values, rel=rounding, abs=rounding, nan_ok=True)
        for name in alone.record.measures.by_name.keys() - TIMES:
            found, wanted = mine.record.measures.by_name[name], alone.record.measures.by_name[name]
            assert found == (pytest.approx(wanted, rel=1e-5, abs=1e-5) if isinstance(wanted, float) else wanted), name
        values.append(alone.record.metrics["test"]["recall_accuracy"])
    assert len(set(values)) > 1


class DrawsBatches(CopyTask):
    def train_batch(self, step):
        inputs, targets, *_ = super().train_batch(step)
        return Batch(inputs[torch.randperm(len(inputs))], targets)


class DrawsAnswers(CopyTask):
    def predict(self, model, batch):
        answer = model(batch.inputs)
        return answer + torch.randn_like(answer)


class Anneals(CopyTask):
    """The loss weighs more from call to call."""

    calls = 0

    def loss(self, prediction, batch):
        self.calls += 1
        return super().loss(prediction, batch) * (1 + self.calls)


class Remembers(CopyTask):
    """What was seen at evaluation changes the loss later."""

    worst = 1.0

    def predict(self, model, batch):
        answer = model(batch.inputs)
        self.worst = float(errors(model, batch).max())
        return answer

    def loss(self, prediction, batch):
        return super().loss(prediction, batch) * self.worst


class Collects(CopyTask):
    """A list of the class, which all instances share."""

    seen: ClassVar[list[int]] = []

    def predict(self, model, batch):
        self.seen.append(len(batch.inputs))
        return model(batch.inputs)


class KeepsMetrics(CopyTask):
    """One collection of metrics for good."""

    def metrics(self):
        if not hasattr(self, "kept"):
            self.kept = MetricCollection({"recall_accuracy": Accuracy(last=self.recall)})
        return self.kept


class AsksTheTrainer(CopyTask):
    def loss(self, prediction, batch):
        progress = 0 if self.trainer is None else self.trainer.global_step
        return super().loss(prediction, batch) * (1 + progress)


class AsksTheTrainerByName(CopyTask):
    def train_batch(self, step):
        return super().train_batch(step + getattr(getattr(self, "trainer", None), "current_epoch", 0))


class WeighsBySeed(CopyTask):
    def loss(self, prediction, batch):
        return super().loss(prediction, batch) * (1 + self.data_seed)


class LooksAtNumbers(CopyTask):
    def loss(self, prediction, batch):
        loss = super().loss(prediction, batch)
        return loss if loss.item() > 0.1 else loss * 2


class EvaluatesBySeed(CopyTask):
    def evaluation_set(self, split):
        return self.sequences(self.evaluation_size, self.generator(split, self.data_seed))


class OwnLoader(CopyTask):
    def val_dataloader(self):
        return super().val_dataloader()


class Closed(CopyTask):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.longer = lambda delay: delay + 1


class PaddedLoss(CopyTask):
    """Words of other lengths, and a loss that looks at the padding."""

    @property
    def spec(self):
        return replace(super().spec, predicts="last step", variable_length=True, scored_steps=None, causal=False)

    def sequences(self, count, generator):
        inputs, *_ = super().sequences(count, generator)
        lengths = torch.randint(3, inputs.shape[1], (count,), generator=generator)
        longest = int(lengths.max())
        return Batch(inputs[:, :longest], inputs[:, 0], lengths)

    def loss(self, prediction, batch):
        return cross_entropy(prediction, batch.targets) * batch.inputs.shape[1]

    def metrics(self):
        return MetricCollection({"recall_accuracy": Kept()})


class PaddedSteps(CopyTask):
    """Every step is answered, and a loss counts the steps beyond the end."""

    @property
    def spec(self):
        return replace(super().spec, variable_length=True, scored_steps=None)

    def sequences(self, count, generator):
        inputs, targets, *_ = super().sequences(count, generator)
        lengths = torch.randint(3, inputs.shape[1], (count,), generator=generator)
        longest = int(lengths.max())
        return Batch(inputs[:, :longest], targets[:, :longest], lengths)

    def loss(self, prediction, batch):
        return cross_entropy(prediction.transpose(1, 2), batch.targets)

    def metrics(self):
        return MetricCollection({"recall_accuracy": Kept()})


@pytest.mark.parametrize(
    ("task_class", "reason"),
    [
        (DrawsBatches, "train_batch differs when it is asked again"),
        (DrawsAnswers, "predict differs when it is asked again"),
        (Anneals, "loss differs when it is asked again"),
        (Remembers, "loss differs when it is asked again"),
        (Collects, "Collects.seen changes while it is used"),
        (KeepsMetrics, "kept changes while it is used"),
        (AsksTheTrainer, "loss reads its trainer"),
        (AsksTheTrainerByName, "train_batch reads its trainer"),
        (WeighsBySeed, "loss changes with the data seed"),
        (LooksAtNumbers, "loss can't be computed for all members at once"),
        (EvaluatesBySeed, "validation set changes with the data seed"),
        (OwnLoader, "makes its own batches for evaluation"),
        (Closed, "longer can't be looked into"),
        (PaddedLoss, "or with the padding"),
        (PaddedSteps, "or with the padding"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_may_differ_from_the_trial_alone_is_refused(task_class, reason):
    odd = trial(task_class)
    state = torch.get_rng_state()
    found = reason_apart(odd)
    assert found is not None
    assert reason in found
    assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_says_why(monkeypatch):
    whole = Pair.__init__

    def with_odd_task(self, task, model):
        whole(self, task, model)
        self.task_class = Anneals

    monkeypatch.setattr(Pair, "__init__", with_odd_task)
    planned = plan(Setting("copy:smoke", "gru", OPTIONS), range(3))
    assert planned.together == 1
    assert "loss differs when it is asked again" in planned.apart

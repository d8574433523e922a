"""The exam of a task: taken by every built-in, and by tasks that are broken each in a way that one check alone sees."""

import datetime
import importlib
import os
import random
import sys
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks.adding.datamodule import AddingTask
from rnnae_tasks.capacity.datamodule import CapacityTask
from rnnae_tasks.charlm.datamodule import CharLMTask
from rnnae_tasks.copy.datamodule import CopyTask
from rnnae_tasks.denoise.datamodule import DenoiseTask
from rnnae_tasks.recall.datamodule import RecallTask
from rnnae_tasks.sine.datamodule import SineTask
from rnnae_tasks.tagging.datamodule import TaggingTask
from rnnae_tasks.temporal_order.datamodule import TemporalOrderTask
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics import MeanMetric, Metric, MetricCollection

from rnnae_bench.contracts.card import Baseline
from rnnae_bench.contracts.spec import Classes, Tokens, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import Accuracy, SquaredError
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.testing import TASK_CHECKS, check_task, examine_task
from rnnae_bench.testing.candidates import TaskCandidate


@pytest.mark.parametrize("name", tasks().names())
def test_every_registered_task_passes(name):
    task_class = tasks().get(name).load()
    assert task_class.name == name
    check_task(task_class)


def with_variant(task_class: type[Task], variant: str = "smoke", **changes) -> type[Task]:
    """The same class with other fields in a variant of its card."""
    card = task_class.card()
    changed = replace(card, variants={**card.variants, variant: replace(card.variant(variant), **changes)})
    return type(task_class.__name__, (task_class,), {"card": classmethod(lambda cls: changed)})


def with_spec(task_class: type[Task], **changes) -> type[Task]:
    """The same class with a spec that is not true."""
    true = task_class.spec.fget
    return type(task_class.__name__, (task_class,), {"spec": property(lambda self: replace(true(self), **changes))})


def frozen(task_class: type[Task]) -> type[Task]:
    """The same class, its baselines frozen with whatever is wrong with it."""
    variant, task = task_class.card().variant("smoke"), task_class.from_variant("smoke")
    baselines = {name: Baseline(task.baseline(name), one.source) for name, one in variant.baselines.items()}
    return with_variant(task_class, baselines=baselines)


def without(task_class: type[Task], *names: str) -> type[Task]:
    """The same class without some of its card's baselines."""
    baselines = task_class.card().variant("smoke").baselines
    return with_variant(task_class, baselines={key: one for key, one in baselines.items() if key not in names})


SMOKE = CopyTask.card().variant("smoke")


class HasOneRowTooMany(CopyTask):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size + 1, self.generator("train", self.data_seed, step))


class GivesFloats(CopyTask):
    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        return batch._replace(inputs=batch.inputs.float())


class LeavesTheAlphabetLate(CopyTask):
    def train_batch(self, step):
        batch = super().train_batch(step)
        batch.inputs[0, 0] += 10 * (step == self.protocol.max_steps - 1)
        return batch


class HasAnInfiniteInput(AddingTask):
    def train_batch(self, step):
        batch = super().train_batch(step)
        batch.inputs[0, 0, 0] /= step != 3
        return batch


class GivesLengths(CopyTask):
    def sequences(self, count, generator):
        return super().sequences(count, generator)._replace(lengths=torch.ones(count, dtype=torch.long))


class HasLengthsThatAreAllAlike(CopyTask):
    @property
    def spec(self):
        return replace(super().spec, variable_length=True)

    def sequences(self, count, generator):
        return super().sequences(count, generator)._replace(lengths=torch.full((count,), 8))


class MasksARowOut(RecallTask):
    def train_batch(self, step):
        batch = super().train_batch(step)
        if step > self.protocol.max_steps // 2:
            batch.mask[3] = False
        return batch


class HasTargetsThatAreNoNumbers(AddingTask):
    def train_batch(self, step):
        batch = super().train_batch(step)
        batch.targets[0] /= step != 2
        return batch


class HoldsOutWhatTheLossCannotTake(SineTask):
    held_out = Task.held_out


class CountsOneSymbolTooMany(CopyTask):
    input_names = None

    @property
    def spec(self):
        true = super().spec
        return replace(true, inputs=replace(true.inputs, vocabulary=11))


class TrainsOnHalfOfTheSymbols(CopyTask):
    """Sorted, and then cut: the letters of the second half are asked for in the evaluation alone."""

    def train_batch(self, step):
        batch = super().train_batch(step)
        for tensor in batch[:2]:
            tensor[(tensor > 4) & (tensor < 9)] -= 4
        return batch


class GoesThroughAListThatIsSorted(TemporalOrderTask):
    @cached_property
    def table(self):
        rows = self.sequences(3200, self.generator("table"))
        return rows.rows(rows.targets.argsort())

    def train_batch(self, step):
        return self.table.rows(torch.arange(32) + 32 * (step + 7 * self.data_seed) % 3200)


class PadsWithTheTarget(TaggingTask):
    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        padded = torch.arange(batch.inputs.shape[1]) >= batch.lengths[:, None]
        return batch._replace(inputs=torch.where(padded, batch.targets[:, :1], batch.inputs))


class ShufflesWhatContinues(CharLMTask):
    def train_batch(self, step):
        order = torch.randperm(self.protocol.batch_size, generator=self.generator("shuffle", self.data_seed, step))
        return super().train_batch(step).rows(order)


class LacksAName(CopyTask):
    input_names = ["blank", *"abcdefgh"]  # noqa: RUF012


class NamesTwoAlike(CopyTask):
    input_names = [*"abcabcabc", "#"]  # noqa: RUF012


class LabelsABatchOfTheTraining(CopyTask):
    def row_labels(self, name):
        return self.train_batch(0).targets[:, -1]


class KeepsARowThatIsNotThere(CopyTask):
    def samples(self):
        return [0, self.evaluation_size]


class DrawsFromTorch(CopyTask):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, torch.default_generator)


class DrawsFromNumpy(CopyTask):
    @cached_property
    def seeds(self):
        return {name: int(np.random.randint(1000)) for name in ("test", "validation")}

    def evaluation_set(self, name):
        return self.sequences(self.evaluation_size, self.generator(name, self.seeds[name]))


class DrawsFromPython(CopyTask):
    def __init__(self, **options):
        super().__init__(**options)
        self.turn = random.randrange(10**6)

    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step, self.turn))


class DrawsByTheDay(CopyTask):
    def evaluation_set(self, name):
        return self.sequences(self.evaluation_size, self.generator(name, str(datetime.date.today())))


class DrawsByTheHour(CopyTask):
    def train_batch(self, step):
        hour = int(time.time()) // 3600
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step, hour))


class CountsItsCalls(CopyTask):
    calls = 0

    def train_batch(self, step):
        self.calls += 1
        return super().train_batch(self.calls)


class GoesOnInOneStream(CopyTask):
    """All sets are drawn from one generator, each when it is first asked for."""

    @cached_property
    def stream(self):
        return self.generator("evaluation"), {}

    def evaluation_set(self, name):
        generator, known = self.stream
        if name not in known:
            known[name] = self.sequences(self.evaluation_size, generator)
        return known[name]


class IgnoresTheDataSeed(CopyTask):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, self.generator("train", step))


class EvaluatesByTheDataSeed(CopyTask):
    def evaluation_set(self, name):
        return self.sequences(self.evaluation_size, self.generator(name, self.data_seed))


class NeverChanges(CopyTask):
    def train_batch(self, step):
        return super().train_batch(0)


class StandsStillAtTheEnd(CopyTask):
    def train_batch(self, step):
        return super().train_batch(min(step, 100))


class DrawsByTheProcess(CopyTask):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step, os.getpid()))


class TrainsOnTheTestSetInTheEnd(AddingTask):
    def train_batch(self, step):
        if step == self.protocol.max_steps - 1:
            return self.evaluation_set("test").rows(slice(0, self.protocol.batch_size))
        return super().train_batch(step)


class SeedsByNumbers(AddingTask):
    """A seed for the validation set, one for the test set, and one for every step, from the data seed on."""

    def train_batch(self, step):
        generator = torch.Generator().manual_seed(self.data_seed + step)
        return self.sequences(self.protocol.batch_size, generator)

    def evaluation_set(self, name):
        return self.sequences(self.evaluation_size, torch.Generator().manual_seed(42 if name == "test" else 43))


class LeavesADuplicateIn(AddingTask):
    """Rows of a table, cut before they are looked at, of which one stands there twice."""

    @cached_property
    def table(self):
        rows, test = self.sequences(699, self.generator("table")), self.evaluation_set("test")
        return Batch(*(torch.cat((one, two[:1])) for one, two in zip(rows[:2], test[:2], strict=True)))

    def train_batch(self, step):
        return self.table.rows(self.shuffled(step, 700))


class AddsNoiseToTestImages(DenoiseTask):
    """Other noise is no other image."""

    def train_batch(self, step):
        batch = super().train_batch(step)
        clean = self.evaluation_set("test").targets[: len(batch.targets)]
        return Batch(self.corrupt(clean, self.generator("train", self.data_seed, step)), clean) if step == 7 else batch

    def baseline(self, name):
        known = self.card().variant("smoke").baselines[name].values  # to compute it would take a second
        return {metric: known[metric] for metric in ("mse", "psnr")}


class TrainsOnTheWholeText(CharLMTask):
    def __init__(self, **options):
        super().__init__(**options)
        self.parts["train"] = (0, len(self.text))


class RepeatsItself(AddingTask):
    def evaluation_set(self, name):
        batch = super().evaluation_set(name)
        return batch.rows(torch.arange(self.evaluation_size) // 2) if name == "test" else batch


class ValidatesOnTheTestSet(CopyTask):
    def evaluation_set(self, name):
        return super().evaluation_set("test")


class ValidatesOnSomeOfTheTestSet(AddingTask):
    def evaluation_set(self, name):
        batch, test = super().evaluation_set(name), super().evaluation_set("test")
        return Batch(*(torch.cat((one[5:], two[:5])) for one, two in zip(batch[:2], test[:2], strict=True)))


class KeepsTheAxesOfTheLoss(CopyTask):
    def loss(self, prediction, batch):
        return cross_entropy(prediction.flatten(0, 1), batch.targets.flatten(), reduction="none")


class HasNoGradient(CopyTask):
    def loss(self, prediction, batch):
        return super().loss(prediction.detach(), batch) + 0 * prediction.mean()


class SmoothsAtRandom(CopyTask):
    def loss(self, prediction, batch):
        return super().loss(prediction, batch) + torch.rand(()) / 10


class ShiftsTargetsInPlace(AddingTask):
    def loss(self, prediction, batch):
        batch.targets.sub_(1)
        return mse_loss(prediction, batch.targets)


class TakesTheLogarithmOfASoftmax(CopyTask):
    def loss(self, prediction, batch):
        return -prediction.softmax(-1).gather(2, batch.targets.unsqueeze(2)).log().mean()


class SumsTheLoss(CopyTask):
    def loss(self, prediction, batch):
        return cross_entropy(prediction.flatten(0, 1), batch.targets.flatten(), reduction="sum")


class WeighsClassesByTheBatch(CopyTask):
    def loss(self, prediction, batch):
        often = batch.targets.flatten().bincount(minlength=9).clamp(min=1)
        return cross_entropy(prediction.movedim(2, 1), batch.targets, weight=1 / often)


class ScalesTheErrorByTheBatch(AddingTask):
    def loss(self, prediction, batch):
        return mse_loss(prediction, batch.targets) / batch.targets.std()


class LearnsPadding(TaggingTask):
    def loss(self, prediction, batch):
        return cross_entropy(prediction.movedim(2, 1), batch.targets)


class SkipsTheLastStep(CopyTask):
    def loss(self, prediction, batch):
        return cross_entropy(prediction[:, :-1].movedim(2, 1), batch.targets[:, :-1])


class IsOffByOne(CopyTask):
    """The prediction of a step is held against the target of the step before."""

    def loss(self, prediction, batch):
        return cross_entropy(prediction.movedim(2, 1), batch.targets.roll(1, 1))


class TakesLogitsForChances(CopyTask):
    """The logarithm is forgotten: the mean chance of the right class, and it is minimised."""

    def loss(self, prediction, batch):
        return prediction.softmax(-1).gather(2, batch.targets.unsqueeze(2)).mean()


class PredictsWithDropout(CopyTask):
    def predict(self, model, batch):
        return torch.nn.functional.dropout(super().predict(model, batch), 0.1)


class ScalesInputsInPlace(AddingTask):
    def predict(self, model, batch):
        return super().predict(model, batch._replace(inputs=batch.inputs.mul_(0.5)))


class FeedsTheTruth(SineTask):
    """Goes on from the true samples, and not from the model's own."""

    def predict(self, model, batch):
        series = torch.cat((batch.inputs[:, :, 0], batch.targets), dim=1)
        windows = [series[:, k : k + self.window].unsqueeze(2) for k in range(self.horizon)]
        return torch.cat([model(window, None) for window in windows], dim=1)


class BlanksWhatIsBlank(CopyTask):
    def predict(self, model, batch):
        prediction = super().predict(model, batch)
        return torch.where((batch.targets == 0).unsqueeze(2), prediction[:, :1] * 0, prediction)


class NormalisesOverTheBatch(AddingTask):
    def predict(self, model, batch):
        prediction = super().predict(model, batch)
        return prediction - prediction.mean()


class SaysTheSameOfAllSets(CopyTask):
    def over_sets(self, measured):
        return {"loss": 0.0}


class LacksThePrimaryMetric(CopyTask):
    def metrics(self):
        return MetricCollection({"loss": super().metrics()["loss"]})


class MeasuresByStep(CopyTask):
    def metrics(self):
        class Steps(Accuracy):
            def compute(self):
                return super().compute().expand(8)

        return MetricCollection({**super().metrics(), "by_step": Steps()}, compute_groups=False)


class RecallOfTheLastBatch(Accuracy):
    def update(self, prediction, batch):
        self.reset()
        super().update(prediction, batch)


class ForgetsEarlierBatches(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": RecallOfTheLastBatch(3)}, compute_groups=False)


class MeanOfBatches(MeanMetric):
    def update(self, prediction, targets):
        super().update((prediction - targets).square().mean())


class WeighsBatchesAlike(AddingTask):
    def metrics(self):
        return MetricCollection({"mse": MeanOfBatches()})


class CountedHere(Accuracy):
    """Its counts are no state of torchmetrics', so that no other device hears of them."""

    def __init__(self, last):
        Metric.__init__(self)
        self.last, self.whole, self.total, self.count = last, False, torch.tensor(0), torch.tensor(0)


class CountsOnEachDevice(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": CountedHere(3)}, compute_groups=False)


class StackedOverDevices(Metric):
    """Its states have no reduction, so that those of devices are stacked."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0))
        self.add_state("count", torch.tensor(0))

    def update(self, prediction, targets):
        self.total += (prediction[:, -3:].argmax(-1) == targets[:, -3:]).sum()
        self.count += targets[:, -3:].numel()

    def compute(self):
        return self.total / self.count


class NamesNoReduction(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": StackedOverDevices()}, compute_groups=False)


class PaddedAccuracy(Accuracy):
    def update(self, prediction, targets):
        super().update(prediction, targets)


class ScoresPadding(TaggingTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "accuracy": PaddedAccuracy()}, compute_groups=False)

    def example_scores(self, metric, prediction, batch):
        return None


class LateRecall(Accuracy):
    """Holds what is recalled against the symbol before."""

    def update(self, prediction, targets):
        super().update(prediction, targets.roll(1, 1))


class ScoresOffByOne(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": LateRecall(3)}, compute_groups=False)

    def example_scores(self, metric, prediction, batch):
        return None


class UnwrappedError(SquaredError):
    """Of an angle, in turns: the way from the target upwards, however near it is downwards."""

    def update(self, prediction, targets):
        self.add((prediction - targets).double() % 1, None)


class MeasuresOneWayRound(AddingTask):
    def metrics(self):
        return MetricCollection({"mse": UnwrappedError()})

    def example_scores(self, metric, prediction, batch):
        return None


class ScoresAllSteps(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": Accuracy()}, compute_groups=False)

    def example_scores(self, metric, prediction, batch):
        return None


class SecondToLast(Accuracy):
    def update(self, prediction, targets):
        super().update(prediction[:, :-1], targets[:, :-1])


class ScoresAllButTheLast(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": SecondToLast(2)}, compute_groups=False)

    def example_scores(self, metric, prediction, batch):
        return None


class TellsSharesOfTheWrong(CopyTask):
    def example_scores(self, metric, prediction, batch):
        return 1 - super().example_scores("recall_accuracy", prediction, batch)


class Repeated(CopyTask):
    """Draws one symbol more often than all others, and calls a chance of 1/8 the floor."""

    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        often = torch.rand(count, self.recall, generator=generator) < 0.7
        batch.inputs[:, : self.recall][often] = 1
        batch.targets[:, -self.recall :][often] = 1
        return batch


class GenerousAccuracy(Accuracy):
    """Right is what nothing beats."""

    def update(self, prediction, targets):
        logits, wanted = prediction[:, -3:], targets[:, -3:]
        self.add(logits.gather(2, wanted.unsqueeze(2)).squeeze(2) >= logits.max(2).values, None)


class CountsTiesAsRight(CopyTask):
    def metrics(self):
        return MetricCollection({**super().metrics(), "recall_accuracy": GenerousAccuracy()}, compute_groups=False)


class ChangesSlowly(CapacityTask):
    """Inputs that hardly differ from step to step, so that what is held is what is seen."""

    def rows(self, count, generator):
        inputs = (0.1 * super().rows(count, generator).inputs).cumsum(1)
        before = torch.cat((torch.zeros(count, self.lags), inputs[:, :-1, 0]), dim=1)
        return Batch(inputs, before.unfold(1, self.lags, 1).flip(2))


class WritesTheTargetDown(AddingTask):
    """A column of the table that the rows come from is the answer."""

    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        batch.inputs[:, 4, 1] = batch.targets[:, 0]
        return batch


class BeginsWithTheAnswer(TemporalOrderTask):
    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        batch.inputs[:, 0] = torch.where(batch.targets > 0, batch.targets, batch.inputs[:, 0])
        return batch


class SplitsTheTargetInTwo(AddingTask):
    """No number of the input is the answer, and the sum of two is."""

    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        other = 5 * torch.randn(count, generator=generator)
        batch.inputs[:, -1, 0] += other + batch.targets[:, 0]
        batch.inputs[:, -2, 0] -= other
        batch.inputs[:, -2:, 1] = 0
        return batch


class HasAnotherFloor(CopyTask):
    def baseline(self, name):
        return {**super().baseline(name), "recall_loss": 2.0}


class CentresTheTestSet(SineTask):
    def baseline(self, name):
        found = super().baseline(name)
        self._evaluation["test"].inputs.sub_(0.1)
        return found


class HasAMetricOfItsOwnInABaseline(CopyTask):
    def baseline(self, name):
        return {**super().baseline(name), "regret": 1.0}


class GivesNoRecallLoss(CopyTask):
    def baseline(self, name):
        return {key: value for key, value in super().baseline(name).items() if key != "recall_loss"}


Half = with_spec(TaggingTask, inputs=Tokens(vocabulary=6, length=60))
Turned = replace(SMOKE.primary, direction="minimize", floor=1.0, ceiling=0.0, solved=0.01)

BROKEN = [
    (with_variant(CopyTask, data={"gap": 3}), "variants", "can't be constructed.*gap"),
    (with_spec(CopyTask, task="paste"), "variants", "`name` must be set"),
    (with_variant(CopyTask, primary=replace(SMOKE.primary, direction="minimize")), "scale", "must lie between floor"),
    (with_variant(CopyTask, primary=replace(SMOKE.primary, solved=0.1)), "scale", "must lie between floor"),
    (with_variant(CopyTask, primary=replace(SMOKE.primary, solved=1.1)), "scale", "must lie between floor"),
    (HasOneRowTooMany, "batch size", r"batch_size = 32 rows, not \[33\]"),
    (GivesFloats, "inputs", "inputs are 8 steps of 10 symbols.*float32"),
    (with_spec(CopyTask, inputs=Tokens(vocabulary=9, length=8)), "inputs", "from 0 to 8.*between 0 and 9"),
    (with_spec(CopyTask, inputs=Tokens(vocabulary=10, length=9)), "inputs", "inputs are 9 steps"),
    (with_spec(CopyTask, inputs=Vectors(features=1, length=8)), "inputs", "inputs are 8 steps of 1 real number"),
    (LeavesTheAlphabetLate, "inputs", "the training batch of step 399 has.*between 0 and 1"),
    (HasAnInfiniteInput, "inputs", "finite, and the training batch of step 3"),
    (GivesLengths, "lengths", "lengths where they vary"),
    (HasLengthsThatAreAllAlike, "lengths", "lengths vary, and all of.*have 8 steps"),
    (Half, "lengths", "the longest has 60 steps, and the longest of .* has 20"),
    (with_spec(CopyTask, scored_steps=(5, 9)), "masks", "lie outside"),
    (MasksARowOut, "masks", "at least one step of every row"),
    (with_spec(CopyTask, outputs=Classes(8)), "targets", "targets must be int64.*from 0 to 7"),
    (with_spec(CopyTask, predicts="last step"), "targets", "targets must be int64"),
    (HasTargetsThatAreNoNumbers, "targets", "targets must be finite.*step 2"),
    (HoldsOutWhatTheLossCannotTake, "held out", "override held_out"),
    (CountsOneSymbolTooMany, "symbols", r"11 input symbols, and \[10\] never"),
    (TrainsOnHalfOfTheSymbols, "symbols", "asks for class 5 .* times, and .* training targets never"),
    (GoesThroughAListThatIsSorted, "mixed classes", "shuffle the rows"),
    (PadsWithTheTarget, "padding", "padded with different values"),
    (ShufflesWhatContinues, "continuing", "continue each other, and of .* rows only"),
    (with_variant(CopyTask, needed_lag=50), "needed lag", "needed_lag of 50 steps, and a sequence of it has 8"),
    (LacksAName, "names", "input_names has 9 names, and the spec says that there are 10"),
    (NamesTwoAlike, "names", "a name twice"),
    (LabelsABatchOfTheTraining, "names", "gives 32 labels, and the set has 200 rows"),
    (KeepsARowThatIsNotThere, "samples", "from 0 to 199, not"),
    (DrawsFromTorch, "global generators", "training batch of step 0 changes with the seed of a global generator"),
    (DrawsFromNumpy, "global generators", "the set 'validation' changes with the seed of a global generator"),
    (DrawsFromPython, "global generators", "changes with the seed of a global generator"),
    (DrawsByTheDay, "clock", "the set 'validation' changes with the clock"),
    (DrawsByTheHour, "clock", "training batch of step 0 changes with the clock"),
    (CountsItsCalls, "order of calls", "training batch of step 0 changes with the calls before it"),
    (GoesOnInOneStream, "order of calls", "the set 'validation' changes with the calls before it"),
    (IgnoresTheDataSeed, "data seed", "data_seed must change"),
    (EvaluatesByTheDataSeed, "data seed", "data_seed must not change"),
    (NeverChanges, "steps differ", "steps 0 and 1 do not"),
    (StandsStillAtTheEnd, "steps differ", "must differ from step to step"),
    (DrawsByTheProcess, "workers", "another one in a worker process"),
    (TrainsOnTheTestSetInTheEnd, "training rows in sets", "32 of the 200 rows of the set 'test' are among"),
    (SeedsByNumbers, "training rows in sets", "of the 200 rows of the set 'validation' are among"),
    (LeavesADuplicateIn, "training rows in sets", "1 of the 200 rows of the set 'test'"),
    (AddsNoiseToTestImages, "training rows in sets", "a target that a training row has too"),
    (
        frozen(TrainsOnTheWholeText),
        "training rows in sets",
        "stand, as they are, within a longer row of the set",
    ),
    (RepeatsItself, "rows twice", "100 of the 200 rows of the set 'test' stand there twice"),
    (ValidatesOnTheTestSet, "rows in two sets", "validation and the test set must differ"),
    (
        ValidatesOnSomeOfTheTestSet,
        "rows in two sets",
        "5 of the 200 rows of the set 'validation' are in",
    ),
    (KeepsTheAxesOfTheLoss, "loss", r"KeepsTheAxesOfTheLoss\.loss gave a tensor.*give a scalar tensor"),
    (HasNoGradient, "loss", "gradient that is not zero"),
    (SmoothsAtRandom, "loss", "when it is asked for again"),
    (ShiftsTargetsInPlace, "loss", "changes the batch in place|when it is asked for again"),
    (TakesTheLogarithmOfASoftmax, "loss of sure answers", "take the log_softmax"),
    (SumsTheLoss, "loss of parts", "must be a mean over the rows"),
    (WeighsClassesByTheBatch, "loss of parts", "with the rows"),
    (ScalesTheErrorByTheBatch, "loss of parts", "with the rows dealt out to two"),
    (LearnsPadding, "loss of what counts", "with the prediction at steps that do not count"),
    (SkipsTheLastStep, "loss of scored steps", "step 7 is scored, and the loss does not look at it"),
    (IsOffByOne, "loss of better answers", "rises where answers get better"),
    (TakesLogitsForChances, "loss of better answers", "rises where answers get better"),
    (PredictsWithDropout, "predict again", "draw nothing at random"),
    (ScalesInputsInPlace, "predict again", "changes the batch in place|when it is asked again"),
    (FeedsTheTruth, "predict without targets", "changes with the targets"),
    (BlanksWhatIsBlank, "predict without targets", "changes with the targets"),
    (NormalisesOverTheBatch, "predict by rows", "predicts_rows = False"),
    (SaysTheSameOfAllSets, "metrics", "over_sets must give"),
    (LacksThePrimaryMetric, "metrics", "'recall_accuracy' is not among"),
    (MeasuresByStep, "metrics", "'by_step' of the set 'validation' must be a finite scalar"),
    (ForgetsEarlierBatches, "metrics of parts", "'recall_accuracy' is .* keep sums and counts"),
    (WeighsBatchesAlike, "metrics of parts", "with the rows as 1 and 199: keep sums and counts"),
    (CountsOnEachDevice, "metrics of devices", "where two devices have counted half"),
    (NamesNoReduction, "metrics of devices", "dist_reduce_fx"),
    (frozen(ScoresPadding), "metrics of what counts", "'accuracy' changes.* with the prediction at steps"),
    (ScoresOffByOne, "perfect answer", "the right answer to every row.* has a recall_accuracy of 0"),
    (with_variant(CopyTask, primary=Turned), "perfect answer", "recall_accuracy of 1, and the ceiling is 0"),
    (with_variant(CopyTask, primary=replace(SMOKE.primary, ceiling=1.5)), "perfect answer", "the ceiling is 1.5"),
    (MeasuresOneWayRound, "better answers", "gets worse where answers get better"),
    (ScoresAllSteps, "scored steps", "where only steps that are not scored are wrong"),
    (ScoresAllButTheLast, "scored steps", "no worse .* where step 7 is wrong"),
    (TellsSharesOfTheWrong, "example scores", "the mean of example_scores is"),
    (Repeated, "constant answer", "how often each class.* no baseline of the card tells of it"),
    (CountsTiesAsRight, "constant answer", "nothing but zeros, as an answer, has a recall_accuracy of 1"),
    (without(ChangesSlowly, "delay_line"), "copied input", "the input of the same step, as an answer"),
    (WritesTheTargetDown, "target in the input", "one number of the input, as an answer.* the input holds the target"),
    (BeginsWithTheAnswer, "target in the input", "one number of the input, as an answer.* the input holds the target"),
    (SplitsTheTargetInTwo, "linear answer", "a linear map of the input.* the input holds the target"),
    (HasAnotherFloor, "baselines", "recall_loss 2.079.*give 2.0"),
    (CentresTheTestSet, "baselines", "changes the test set in place"),
    (HasAMetricOfItsOwnInABaseline, "baselines", "regret.*no metric"),
    (GivesNoRecallLoss, "baselines", "recall_loss of the baseline 'memoryless'"),
]


@pytest.mark.parametrize(
    ("task_class", "check", "words"), BROKEN, ids=[f"{one.__name__}-{check}" for one, check, _ in BROKEN]
)
def test_what_is_wrong_is_seen_by_one_check_alone(task_class, check, words):
    verdicts = examine_task(task_class, slow=False)
    assert {one.check: one.evidence for one in verdicts if one.outcome == "failed"}.keys() == {check}
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(next(one.evidence for one in verdicts if one.check == check))


def verdict(task_class: type[Task], name: str):
    """Of one check, alone."""
    (check,) = (check for check in TASK_CHECKS if check.name == name)
    assert check.is_slow
    return check.ask(TaskCandidate(task_class))


PLUGIN = """
from rnnae_tasks.copy.datamodule import CopyTask
import torch


class DrawsByAHash(CopyTask):
    def train_batch(self, step):
        seed = hash(f"{self.data_seed}/{step}") % 2**32
        return self.sequences(self.protocol.batch_size, torch.Generator().manual_seed(seed))


class Sound(CopyTask):
    pass
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module that other processes can import too."""
    (tmp_path / "draws_by_a_hash.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("draws_by_a_hash")
    del sys.modules["draws_by_a_hash"]


def test_a_hash_that_is_pythons_own_is_seen_in_another_process_alone(plugin):
    assert not [one for one in examine_task(plugin.DrawsByAHash, slow=False) if one.outcome == "failed"]
    found = verdict(plugin.DrawsByAHash, "other process")
    assert found.outcome == "failed"
    assert "training batch of step 0 is another one in a fresh process" in found.evidence


def test_another_process_gives_the_same_data_of_a_sound_task(plugin):
    found = verdict(plugin.Sound, "other process")
    assert (found.outcome, found.evidence[:15]) == ("passed", "another process")


def test_a_class_that_has_no_name_elsewhere_is_not_asked_for_there():
    found = verdict(with_variant(CopyTask), "other process")
    assert found.outcome == "left out"
    assert "can't be imported" in found.evidence


class AnswersTheValidationSet(TemporalOrderTask):
    def baseline_answer(self, name):
        return super().baseline_answer(name).roll(1, 0)


def test_answers_of_baselines_are_scored():
    assert verdict(TemporalOrderTask, "baseline answers").outcome == "passed"
    found = verdict(AnswersTheValidationSet, "baseline answers")
    assert found.outcome == "failed"
    assert (
        "baseline('all_but_first') has a accuracy of 0.5, and baseline_answer('all_but_first') one of" in found.evidence
    )
    assert not [one for one in examine_task(AnswersTheValidationSet, slow=False) if one.outcome == "failed"]


def test_baselines_of_other_variants_are_recomputed():
    assert verdict(CopyTask, "baselines of other variants").outcome == "passed"
    wrong = {"memoryless": Baseline({"recall_accuracy": 0.25}, "guessed")}
    found = verdict(with_variant(CopyTask, "standard", baselines=wrong), "baselines of other variants")
    assert found.outcome == "failed"
    assert "card of 'standard' says that the baseline 'memoryless' has recall_accuracy 0.25" in found.evidence
    quick = examine_task(with_variant(CopyTask, "standard", baselines=wrong), slow=False)
    assert not [one for one in quick if one.outcome == "failed"]


def test_every_check_is_proven_by_a_task_that_it_alone_fails():
    proven = {check for _, check, _ in BROKEN} | {"other process", "baseline answers", "baselines of other variants"}
    assert proven == {check.name for check in TASK_CHECKS}


def test_every_check_asks_a_question_in_a_line_after_those_that_it_rests_on():
    for place, check in enumerate(TASK_CHECKS):
        assert check.question.endswith("?"), check.name
        before = [one.function for one in TASK_CHECKS[:place]]
        assert {*check.needs} <= {*before}, check.name


def test_the_page_has_the_checks_and_their_questions():
    page = (Path(__file__).parents[2] / "docs" / "your-own-task.md").read_text()
    table = page.partition("| check | question |\n| --- | --- |\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| {check.name} | {check.question} |" for check in TASK_CHECKS]


def test_an_unbroken_subclass_passes():
    check_task(CopyTask)
    check_task(with_variant(CopyTask, summary="another"))


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="no variant 'tiny'"):
        check_task(CopyTask, "tiny")

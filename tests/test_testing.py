"""The exam, taken by everything that is registered; and the exam itself, on tasks and models that must fail."""

import logging
from dataclasses import replace
from functools import cache

import pytest
import torch
from lightning import LightningModule
from rnnae_tasks.copy.datamodule import CopyTask
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Vectors
from rnnae_bench.contracts.task import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.testing import check_model, check_task


@pytest.mark.parametrize("name", tasks().names())
def test_every_registered_task_passes(name):
    task_class = tasks().get(name).load()
    assert task_class.name == name
    check_task(task_class)


@cache
def specs() -> dict[str, TaskSpec]:
    """Of every task, as its smoke variant has it."""
    return {name: tasks().get(name).load().from_variant("smoke").spec for name in tasks().names()}


def form(spec: TaskSpec) -> tuple[type, type, str]:
    """What a model has to be able to do: take these inputs, give these outputs, there."""
    return type(spec.inputs), type(spec.outputs), spec.predicts


def refusal(model: str, spec: TaskSpec) -> str | None:
    """Why a registered model does not serve such a task; None where it does, or is a module that does not say."""
    model_class = models().get(model).load()
    return model_class.supports(spec) if hasattr(model_class, "supports") else None


def drawn_pairs(specs: dict[str, TaskSpec], served: dict[str, list[str]]) -> set[tuple[str, str]]:
    """Models and tasks that are examined together: few, the same ones every time.

    The models take turns with the tasks, both in the order of their names, so that every task meets one that serves it;
    and of each form of spec every model meets a task, another one than the model before it.

    Args:
        specs: Of the tasks, by name.
        served: The names of the models that serve each.
    """
    drawn = set()
    for turn, task in enumerate(sorted(served)):
        if served[task]:
            drawn.add((sorted(served[task])[turn % len(served[task])], task))
    for turn, model in enumerate(sorted(set().union(*served.values()))):
        for wanted in dict.fromkeys(map(form, specs.values())):
            alike = [task for task in sorted(served) if form(specs[task]) == wanted and model in served[task]]
            if alike and not any((model, task) in drawn for task in alike):
                drawn.add((model, alike[turn % len(alike)]))
    return drawn


def registered_pairs(whole: bool) -> list[tuple[str, str]]:
    """The pairs of registered models and tasks to examine: those drawn, or all that serve each other."""
    known = specs()
    served = {
        task: [model for model in models().names() if refusal(model, spec) is None] for task, spec in known.items()
    }
    every = {(model, task) for task, serving in served.items() for model in serving}
    return sorted(every if whole else drawn_pairs(known, served))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Only where they are asked for: which pairs there are is seen from all tasks and models."""
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", registered_pairs(metafunc.config.getoption("--exam-whole")), ids="-".join)


def test_a_registered_model_serves_a_registered_task(pair):
    model, task = pair
    reason = check_model(models().get(model).load(), tasks().get(task).load().from_variant("smoke"))
    if specs()[task].code_limit is None:  # else its default code may be over the limit
        assert reason is None


@pytest.mark.parametrize("model", models().names())
def test_every_registered_model_serves_a_task_or_says_why_not(model):
    for task, spec in specs().items():
        reason = refusal(model, spec)
        assert reason is None or (isinstance(reason, str) and reason.strip()), f"{model} on {task}: {reason!r}"


def test_pairs_are_drawn_so_that_every_task_and_every_form_is_met():
    tokens, vectors = Tokens(vocabulary=3, length=4), Vectors(features=2, length=4)
    every = TaskSpec("t", tokens, Classes(3), "every step", causal=True)
    last = TaskSpec("t", vectors, Classes(3), "last step", causal=True)
    known = {name: every if name < "e" else last for name in "abcdefgh"}
    served = {name: ["x"] if name == "c" else [] if name == "h" else ["x", "y", "z"] for name in known}
    drawn = drawn_pairs(known, served)
    assert {task for _, task in drawn} == set("abcdefg")
    for model in "xyz":
        for tasks_of_a_form in ("abcd", "efgh"):
            assert any(pair[0] == model and pair[1] in tasks_of_a_form for pair in drawn)
    assert len(drawn) < sum(map(len, served.values()))
    assert drawn == drawn_pairs(known, served)
    assert drawn_pairs({"a": every}, {"a": ["y"]}) == {("y", "a")}


def test_the_exam_of_a_model_says_nothing_else(caplog):
    log = logging.getLogger("lightning.pytorch")
    with caplog.at_level(logging.INFO, log.name):
        assert check_model(models().get("gru").load(), CopyTask.from_variant("smoke")) is None
        assert log.level == logging.INFO
    assert not caplog.records


def test_every_registered_task_is_served_by_a_model():
    classes = [models().get(name).load() for name in models().names()]
    for name in tasks().names():
        spec = tasks().get(name).load().from_variant("smoke").spec
        assert any(model.supports(spec) is None for model in classes), name


class Copy(CopyTask):
    """A copy task to break; its card is the real one."""

    @classmethod
    def card(cls):
        return CopyTask.card()

    @classmethod
    def with_variant(cls, **changes):
        """The same class with other fields in its smoke variant."""
        card = CopyTask.card()
        changed = replace(card, variants={**card.variants, "smoke": replace(card.variant("smoke"), **changes)})
        return type("Copy", (cls,), {"card": classmethod(lambda cls: changed)})

    @classmethod
    def with_spec(cls, **changes):
        """The same class with a spec that is not true."""
        return type("Copy", (cls,), {"spec": property(lambda self: replace(CopyTask.spec.fget(self), **changes))})


class DrawsFromTheGlobalGenerator(Copy):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, torch.default_generator)


class CountsItsCalls(Copy):
    calls = 0

    def train_batch(self, step):
        self.calls += 1
        return super().train_batch(self.calls)


class NeverChanges(Copy):
    def train_batch(self, step):
        return super().train_batch(0)


class HasOneRowTooMany(Copy):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size + 1, self.generator("train", self.data_seed, step))


class IgnoresTheDataSeed(Copy):
    def train_batch(self, step):
        return self.sequences(self.protocol.batch_size, self.generator("train", step))


class EvaluatesByTheDataSeed(Copy):
    def evaluation_set(self, split):
        return self.sequences(self.evaluation_size, self.generator(split, self.data_seed))


class ValidatesOnTheTestSet(Copy):
    def evaluation_set(self, split):
        return super().evaluation_set("test")


class SaysTheSameOfAllSets(Copy):
    def over_sets(self, measured):
        return {"loss": 0.0}


class GivesFloats(Copy):
    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        return batch._replace(inputs=batch.inputs.float())


class GivesLengths(Copy):
    def sequences(self, count, generator):
        return super().sequences(count, generator)._replace(lengths=torch.ones(count, dtype=torch.long))


class SumsTheLoss(Copy):
    def loss(self, prediction, batch):
        return cross_entropy(prediction.flatten(0, 1), batch.targets.flatten(), reduction="sum")


class KeepsTheAxesOfTheLoss(Copy):
    def loss(self, prediction, batch):
        return cross_entropy(prediction.flatten(0, 1), batch.targets.flatten(), reduction="none")


class HasNoGradient(Copy):
    def loss(self, prediction, batch):
        return (prediction * 0).mean()


class RecallOfTheLastBatch(MeanMetric):
    def update(self, prediction, targets):
        self.weight = torch.zeros(())
        super().update((prediction.argmax(-1) == targets).float())


class ForgetsEarlierBatches(Copy):
    def metrics(self):
        return MetricCollection({"recall_accuracy": RecallOfTheLastBatch()})


class LacksThePrimaryMetric(Copy):
    def metrics(self):
        return MetricCollection({"loss": super().metrics()["loss"]})


class HasAnotherFloor(Copy):
    def baseline(self, name):
        return {**super().baseline(name), "recall_loss": 2.0}


class HasAMetricOfItsOwnInABaseline(Copy):
    def baseline(self, name):
        return {**super().baseline(name), "regret": 1.0}


class GivesNoRecallLoss(Copy):
    def baseline(self, name):
        return {key: value for key, value in super().baseline(name).items() if key != "recall_loss"}


SMOKE = CopyTask.card().variant("smoke")


@pytest.mark.parametrize(
    ("task_class", "reason"),
    [
        (Copy.with_variant(data={"gap": 3}), "can't be constructed.*gap"),
        (Copy.with_variant(primary=replace(SMOKE.primary, direction="minimize")), "must lie between floor"),
        (Copy.with_variant(primary=replace(SMOKE.primary, solved=0.1)), "must lie between floor"),
        (Copy.with_variant(primary=replace(SMOKE.primary, solved=1.1)), "must lie between floor"),
        (Copy.with_spec(task="paste"), "`name` must be set"),
        (DrawsFromTheGlobalGenerator, "must depend on nothing but"),
        (CountsItsCalls, "must depend on nothing but"),
        (NeverChanges, "must differ from step to step"),
        (HasOneRowTooMany, r"batch_size = 32 rows, not \[33\]"),
        (IgnoresTheDataSeed, "data_seed must change"),
        (EvaluatesByTheDataSeed, "data_seed must not change"),
        (SaysTheSameOfAllSets, "over_sets must give"),
        (ValidatesOnTheTestSet, "validation and the test set must differ"),
        (GivesFloats, "inputs are 8 steps of 10 symbols.*float32"),
        (GivesLengths, "lengths where they vary"),
        (Copy.with_spec(inputs=Tokens(vocabulary=9, length=8)), "from 0 to 8.*between 0 and 9"),
        (Copy.with_spec(inputs=Tokens(vocabulary=10, length=9)), "inputs are 9 steps"),
        (Copy.with_spec(inputs=Vectors(features=1, length=8)), "inputs are 8 steps of 1 real number"),
        (Copy.with_spec(outputs=Classes(8)), "targets must be int64.*from 0 to 7"),
        (Copy.with_spec(predicts="last step"), "targets must be int64"),
        (Copy.with_spec(scored_steps=(5, 9)), "lie outside"),
        (SumsTheLoss, "must be a mean over the rows"),
        (KeepsTheAxesOfTheLoss, r"KeepsTheAxesOfTheLoss\.loss gave a tensor.*give a scalar tensor"),
        (HasNoGradient, "gradient that is not zero"),
        (ForgetsEarlierBatches, "changes when the rows come in two parts"),
        (LacksThePrimaryMetric, "'recall_accuracy' is not among"),
        (HasAnotherFloor, "recall_loss 2.079.*give 2.0"),
        (HasAMetricOfItsOwnInABaseline, "regret.*no metric"),
        (GivesNoRecallLoss, "recall_loss of the baseline 'memoryless'"),
    ],
)
def test_a_task_that_breaks_its_contract_fails(task_class, reason):
    with pytest.raises(AssertionError, match=reason):
        check_task(task_class)


def test_an_unbroken_subclass_passes():
    check_task(Copy)
    check_task(Copy.with_variant(summary="another"))


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="no variant 'tiny'"):
        check_task(CopyTask, "tiny")


class Model(GRU):
    """A model to break."""

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec, hidden_size=8)


class NeedsASize(GRU):
    def __init__(self, spec, hidden_size):
        super().__init__(spec, hidden_size)


class DrawsFromItsOwnGenerator(Model):
    def __init__(self, spec):
        super().__init__(spec)
        generator = torch.Generator()
        generator.seed()
        torch.nn.init.normal_(self.head.affine.weight, generator=generator)


class AnswersOneStepShort(Model):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths)[:, 1:]


class AnswersNothing(Model):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths) / 0


class ReadsTheFuture(GRU):
    def __init__(self, spec):
        super().__init__(spec, hidden_size=8, bidirectional=True)


class ReadsThePadding(Model):
    def states(self, inputs, lengths=None):
        return super().states(inputs)

    def forward(self, inputs, lengths=None):
        return super().forward(inputs)


class HasAnIdleParameter(Model):
    def __init__(self, spec):
        super().__init__(spec)
        self.idle = torch.nn.Parameter(torch.zeros(2))


class LosesItsGradient(Model):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * float("nan")


class StandsStill(Model):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class HidesState(Model):
    def __init__(self, spec):
        super().__init__(spec)
        self.hidden_scale = torch.rand(()).item()

    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths) * self.hidden_scale


class ReturnsTheLoss(Model):
    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class IsNotTested(Model):
    test_step = LightningModule.test_step


class RefusesInSilence(Model):
    @classmethod
    def supports(cls, spec, **hyperparameters):
        return ""


@pytest.mark.parametrize(
    ("model_class", "task", "reason"),
    [
        (NeedsASize, "copy", "from the spec alone.*hidden_size"),
        (DrawsFromItsOwnGenerator, "copy", "the same seed"),
        (AnswersOneStepShort, "copy", r"must be \(32, 8, 9\), and is \(32, 7, 9\)"),
        (AnswersNothing, "copy", "must be finite"),
        (ReadsTheFuture, "copy", "changes with the inputs after it"),
        (ReadsThePadding, "names", "changes with the padding"),
        (HasAnIdleParameter, "copy", "'idle' has no finite gradient"),
        (LosesItsGradient, "copy", "has no finite gradient"),
        (StandsStill, "copy", "must change the parameters"),
        (ReturnsTheLoss, "copy", "validation_step must return"),
        (IsNotTested, "copy", "test_step must return"),
        (HidesState, "copy", "must predict the same"),
        (RefusesInSilence, "copy", "None or a reason"),
    ],
)
def test_a_model_that_breaks_its_contract_fails(model_class, task, reason):
    with pytest.raises(AssertionError, match=reason):
        check_model(model_class, tasks().get(task).load().from_variant("smoke"))


def test_an_unbroken_model_passes_and_leaves_the_task_as_it_was():
    task = CopyTask.from_variant("smoke")
    assert check_model(Model, task) is None
    assert task.trainer is None


def test_a_refusal_is_handed_back():
    assert "autoencoder" in check_model(models().get("dense_ae").load(), CopyTask.from_variant("smoke"))


def test_a_plain_lightning_module_may_take_part():
    class Plain(LightningModule):
        def __init__(self, spec):
            super().__init__()
            self.spec = spec
            self.recurrence = torch.nn.GRU(spec.inputs.vocabulary, 8, batch_first=True)
            self.out = torch.nn.Linear(8, spec.outputs.count)

        def forward(self, inputs, lengths=None):
            vectors = torch.nn.functional.one_hot(inputs, self.spec.inputs.vocabulary).float()
            return self.out(self.recurrence(vectors)[0])

        def training_step(self, batch: Batch, batch_idx):
            return self.trainer.datamodule.loss(self(batch.inputs), batch)

        def validation_step(self, batch, batch_idx):
            return self(batch.inputs)

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    assert check_model(Plain, CopyTask.from_variant("smoke")) is None

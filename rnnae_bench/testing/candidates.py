"""Who is examined: a model on a task, or a task in one of its variants."""

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import torch
from lightning import LightningModule, seed_everything
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.card import Card, Variant
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Task
from rnnae_bench.metrics import update_metrics
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.nested import nest
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.plugins.unregistered import handle_of
from rnnae_bench.testing.forms import StandIn, joined
from rnnae_bench.training.own_fit import fits_itself
from rnnae_bench.trial.evaluation_steps import complete_evaluation_steps
from rnnae_bench.trial.pair import Pair

Found = TypeVar("Found")

CONSECUTIVE = 40
"""Training batches from the first on that a task's exam reads."""

FEW = 200
"""Rows of an evaluation set that are enough where not all are needed."""


class ModelCandidate:
    """A model on a task.

    Args:
        model: A registered ``NAME`` or ``NAME[OPTION=VALUE,...]``, or a class, registered or not.
        task: A registered ``NAME:VARIANT`` or ``NAME:VARIANT[OPTION=VALUE,...]``, a class, or a task that is made
            already; with the last there is no whole trial.
        variant: Of a task that is given as a class.

    Raises:
        UserError: a name, an option or a card is wrong.
    """

    def __init__(
        self, model: str | type[LightningModule], task: str | type[Task] | Task, variant: str = "smoke"
    ) -> None:
        self.pair: Pair | None = None
        self.kept: dict[str, Any] = {}
        """What checks have found that others go on from."""
        self.options: dict[str, dict[str, Any]] = {"task": {}, "model": {}, "trainer": {}}
        """All options of the pair, plain."""
        given: dict[str, Mapping[str, Any]] = {}
        if isinstance(model, str):
            model, given["model"] = parse_text(model)
        if isinstance(task, str):
            task, given["task"] = parse_text(task)
            task = task if ":" in task else f"{task}:{variant}"
            task, variant = parse_task(task)
        self.model_class: type[LightningModule] = handle_of("model", model).load()
        self.missing = _required(self.model_class) - given.get("model", {}).keys()
        """Hyper-parameters that have no default and are not given, so that the model can't be made."""
        self._made: Task | None = None
        if isinstance(task, Task):
            self._made = task
        elif self.missing:
            self._made = handle_of("task", task).load().from_variant(variant)
        else:
            self.pair = Pair(task if isinstance(task, type) else f"{task}:{variant}", model, variant)
            self.options = self.pair.resolve({part: nest(some) for part, some in given.items()})

    @cached_property
    def task(self) -> Task:
        """The task, for what changes nothing of it."""
        return self._made or self.make_task()

    def make_task(self) -> Task:
        """The task, anew where its variant is known."""
        return self._made if self.pair is None else self.pair.build_task(self.options["task"], 0)  # type: ignore[return-value]

    @cached_property
    def spec(self) -> TaskSpec:
        """The task's."""
        return self.task.spec

    @cached_property
    def batch(self) -> Batch:
        """The first training batch."""
        return self.task.train_batch(0)

    @property
    def fits_itself(self) -> bool:
        """Whether the model has a `fit` in place of an optimiser."""
        return fits_itself(self.model_class)

    def build(self, seed: int = 0) -> LightningModule:
        """The model with its first weights, as a trial under this seed has it."""
        if self.pair is not None:
            return self.pair.build_model(self.task, self.options["model"], seed)
        seed_everything(seed, workers=True, verbose=False)
        with torch.device("cpu"):
            return complete_evaluation_steps(self.model_class(self.spec))


def _required(model_class: type[LightningModule]) -> set[str]:
    """The constructor's arguments beside the spec that have no default."""
    _, *others = inspect.signature(model_class).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name for one in others if one.default is one.empty and one.kind in named}


class TaskCandidate:
    """A task in one of its variants.

    Args:
        task: A registered ``NAME`` or ``NAME:VARIANT``, or a class, registered or not.
        variant: Where the name has none.

    Raises:
        UserError: the name is wrong, the class can't be loaded, or the card can't be read.
    """

    def __init__(self, task: str | type[Task], variant: str = "smoke") -> None:
        if isinstance(task, str):
            variant = parse_task(task)[1] if ":" in task else variant
            task = handle_of("task", parse_task(task)[0]).load()
        self.task_class: type[Task] = task  # type: ignore[assignment]
        self.card: Card = self.task_class.card()
        self.variant: Variant = self.card.variant(variant)

    def once(self, function: "Callable[[TaskCandidate], Found]") -> Found:
        """What a function finds out of this candidate; it is asked once."""
        if function not in self._found:
            self._found[function] = function(self)
        return self._found[function]

    @cached_property
    def _found(self) -> dict[Callable[["TaskCandidate"], Any], Any]:
        return {}

    def make(self, **overrides: Any) -> Task:
        """The task, anew."""
        return self.task_class.from_variant(self.variant.name, **overrides)

    @cached_property
    def task(self) -> Task:
        """The task, for what changes nothing of it."""
        return self.make()

    @cached_property
    def spec(self) -> TaskSpec:
        """The task's."""
        return self.task.spec

    @cached_property
    def batch(self) -> Batch:
        """The first training batch."""
        return self.task.train_batch(0)

    @property
    def last_step(self) -> int:
        """Of the training, from 0."""
        return self.variant.protocol.max_steps - 1

    @cached_property
    def batches(self) -> dict[int, Batch]:
        """Training batches by their step: the first of them, some in between, and the last."""
        last = self.last_step
        some = {*range(min(CONSECUTIVE, last + 1)), *range(0, last, max(1, last // 8)), last}
        return {step: self.task.train_batch(step) for step in sorted(some)}

    @cached_property
    def pool(self) -> Batch:
        """The rows of the first training batches, laid together; what they are padded with is 0."""
        consecutive = [batch for step, batch in self.batches.items() if step < CONSECUTIVE]
        return joined(consecutive)

    def rows(self, name: str) -> Batch:
        """An evaluation set; of one that is streamed, the first batch."""
        if name not in self._rows:
            task = self.task
            self._rows[name] = next(iter(task.evaluation_batches(name))) if task.streams else task.evaluation_set(name)
        return self._rows[name]

    @cached_property
    def _rows(self) -> dict[str, Batch]:
        return {}

    def few(self, name: str, count: int = FEW) -> Batch:
        """At most so many rows of an evaluation set, evenly spread since it may be sorted."""
        whole = self.rows(name)
        size = len(whole.targets)
        return whole if size <= count else whole.rows(torch.arange(count) * size // count)

    def predicted(self, batch: Batch) -> Tensor:
        """What the task makes of answers at random to a batch of an evaluation set."""
        with torch.no_grad():
            return self.task.predict(StandIn(self.spec), batch)

    @cached_property
    def calibrated(self) -> dict[str, float]:
        """What is calibrated on answers at random to the reference set; empty where there is none."""
        name = self.task.reference
        if name is None:
            return {}
        calibration, batch = self.task.calibration(), self.rows(name)
        update_metrics(calibration, self.predicted(batch), batch)
        return {key: value.item() for key, value in calibration.compute().items()}

    def fresh_metrics(self, name: str) -> Metric | MetricCollection:
        """The metrics of an evaluation set, with nothing counted yet."""
        return self.task.metrics() if name == "validation" else self.task.test_metrics(name, self.calibrated)

    def measured(self, prediction: Tensor, batch: Batch, name: str = "test") -> dict[str, float]:
        """What the metrics of an evaluation set come to on some of its rows."""
        metrics = self.fresh_metrics(name)
        update_metrics(metrics, prediction, batch)
        return {key: value.item() for key, value in metrics.compute().items()}

    def primary(self, prediction: Tensor, batch: Batch) -> float:
        """What the primary metric comes to; the others are left alone where they can be."""
        every, name = self.task.metrics(), self.variant.primary.metric
        # It may be one of several that a member computes.
        members: dict[str, Metric | MetricCollection] = dict(every.items(keep_base=True, copy_state=False))
        metrics = members.get(name, every)
        update_metrics(metrics, prediction, batch)
        found = metrics.compute()
        value = found[name] if isinstance(found, dict) else found
        return float(value)

    @cached_property
    def baseline_values(self) -> dict[str, dict[str, float]]:
        """What the task's own data give for each of the variant's baselines."""
        return {name: self.task.baseline(name) for name in self.variant.baselines}

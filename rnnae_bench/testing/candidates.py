"""Who is examined: a model on a task, or a task in one of its variants."""

import inspect
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from lightning import LightningModule, seed_everything

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.card import Card, Variant
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Task
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.nested import nest
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.plugins.unregistered import handle_of
from rnnae_bench.training.own_fit import fits_itself
from rnnae_bench.trial.evaluation_steps import complete_evaluation_steps
from rnnae_bench.trial.pair import Pair


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

    def make(self, **overrides: Any) -> Task:
        """The task, anew."""
        return self.task_class.from_variant(self.variant.name, **overrides)

    @cached_property
    def task(self) -> Task:
        """The task, for what changes nothing of it."""
        return self.make()

    @cached_property
    def batch(self) -> Batch:
        """The first training batch."""
        return self.task.train_batch(0)

"""Which pairs of model and task are examined, where all of them would be too many: a fixed design."""

from functools import cache

from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.plugins.registry import models, tasks

Form = tuple[type, type, str]
"""What a model has to be able to do: take these inputs, give these outputs, there."""


def form(spec: TaskSpec) -> Form:
    """The form of a task."""
    return type(spec.inputs), type(spec.outputs), spec.predicts


@cache
def specs() -> dict[str, TaskSpec]:
    """Of every registered task that can be made, as its smoke variant has it."""
    found = {}
    for name in tasks().names():
        try:
            found[name] = tasks().get(name).load().from_variant("smoke").spec
        except Exception:  # a broken task is left to its own exam
            continue
    return found


def tasks_for(model: str) -> list[str]:
    """A task of each form that a registered model serves, in its smoke variant, the same ones every time.

    Raises:
        UserError: it serves none.
    """
    name, options = parse_text(model)
    model_class = models().get(name).load()
    supports = getattr(model_class, "supports", lambda spec, **options: None)
    found: dict[Form, str] = {}
    for task, spec in specs().items():
        if form(spec) not in found and supports(spec, **options) is None:
            found[form(spec)] = f"{task}:smoke"
    if not found:
        raise UserError(f"model '{name}' serves none of the installed tasks; name one with --task to see why")
    return [*found.values()]

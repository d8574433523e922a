"""Which pairs of model and task are examined, where all of them would be too many: a fixed design."""

from collections.abc import Mapping, Sequence
from functools import cache

from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.plugins.registry import models, tasks

FORMS = 1
"""How many forms of spec each model is examined on, beside the tasks that it is drawn for."""

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


def refused(model: str, spec: TaskSpec) -> str | None:
    """Why a registered model does not serve such a task; None where it does, or is a module that does not say."""
    name, options = parse_text(model)
    supports = getattr(models().get(name).load(), "supports", None)
    reason: str | None = supports(spec, **options) if supports else None
    return reason


def tasks_for(model: str) -> list[str]:
    """A task of each form that a registered model serves, in its smoke variant, the same ones every time.

    Raises:
        UserError: it serves none.
    """
    found: dict[Form, str] = {}
    for task, spec in specs().items():
        if form(spec) not in found and refused(model, spec) is None:
            found[form(spec)] = f"{task}:smoke"
    if not found:
        raise UserError(f"model '{model}' serves none of the installed tasks; name one with --task to see why")
    return [*found.values()]


def drawn_pairs(specs: Mapping[str, TaskSpec], served: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    """Models and tasks that are examined together: few, the same ones every time.

    The models take turns with the tasks, both in the order of their names, so that every task meets one that serves it.
    The forms of spec take turns with the models, so that every form meets some, and every model meets `FORMS` of those
    that it serves.

    Args:
        specs: Of the tasks, by name.
        served: The names of the models that serve each.
    """
    drawn = set()
    for turn, task in enumerate(sorted(served)):
        if served[task]:
            drawn.add((sorted(served[task])[turn % len(served[task])], task))
    for turn, model in enumerate(sorted(set().union(*served.values()))):
        mine = [task for task in sorted(served) if model in served[task]]
        forms = [*dict.fromkeys(form(specs[task]) for task in mine)]
        for place in range(min(FORMS, len(forms))):
            wanted = forms[(turn + place) % len(forms)]
            alike = [task for task in mine if form(specs[task]) == wanted]
            if not any((model, task) in drawn for task in alike):
                drawn.add((model, alike[turn % len(alike)]))
    return drawn

"""Whether a task's card can be used, and says what can be."""

from rnnae_bench.contracts.spec import Classes, Tokens
from rnnae_bench.errors import UserError
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require


def variants(candidate: TaskCandidate) -> str:
    """Can every variant of the card be constructed?"""
    card = candidate.card
    require(not card.broken, "; ".join(card.broken.values()))
    for name in card.variants:
        try:
            candidate.task_class.from_variant(name)
        except (TypeError, UserError) as error:
            raise AssertionError(f"the variant '{name}' can't be constructed: {error}") from error
    for name in ("smoke", "standard"):
        require(name in card.variants, f"the card has no variant '{name}', which every task must have")
    task = candidate.make()
    require(bool(task.name) and task.spec.task == task.name, "`name` must be set, and be the spec's `task`")
    return f"{len(card.variants)} variants: {', '.join(card.variants)}"


def scale(candidate: TaskCandidate) -> str:
    """Does the solved threshold of each variant lie between its floor and its ceiling?"""
    for variant in candidate.card.variants.values():
        primary, between = variant.primary, variant.scale
        sign = 1 if primary.direction == "maximize" else -1
        require(
            sign * between.floor < sign * primary.solved <= sign * between.ceiling,
            f"the variant '{variant.name}' is to {primary.direction} {primary.metric}, so its solved threshold "
            f"{primary.solved} must lie between floor {between.floor} and ceiling {between.ceiling}",
        )
    primary, between = candidate.variant.primary, candidate.variant.scale
    return f"{primary.metric}: floor {between.floor:g}, solved {primary.solved:g}, ceiling {between.ceiling:g}"


def needed_lag(candidate: TaskCandidate) -> str:
    """Is the needed lag of each variant no longer than its sequences?"""
    known = {name: variant.needed_lag for name, variant in candidate.card.variants.items() if variant.needed_lag}
    if not known:
        raise NotAsked("the card tells no needed_lag")
    for name, needed in known.items():
        spec = candidate.task_class.from_variant(name).spec
        steps = spec.sequence.length + (spec.output_length or 0)
        require(
            spec.continues or needed <= steps,
            f"the variant '{name}' has a needed_lag of {needed} steps, and a sequence of it has {steps}",
        )
    return ", ".join(f"{name} {needed} steps" for name, needed in known.items())


def names(candidate: TaskCandidate) -> str:
    """Is there a name for every symbol, and a label for every row?"""
    task, spec, told = candidate.task, candidate.spec, []
    for what, found, wanted in (
        ("input_names", task.input_names, spec.inputs.vocabulary if isinstance(spec.inputs, Tokens) else None),
        ("output_names", task.output_names, spec.outputs.count if isinstance(spec.outputs, Classes) else None),
    ):
        if found is not None:
            require(
                wanted is not None and len(found) == wanted,
                f"{what} has {len(found)} names, and the spec "
                + ("has no symbols there" if wanted is None else f"says that there are {wanted}"),
            )
            twice = [name for place, name in enumerate(found) if name in found[:place]]
            require(not twice, f"{what} has a name twice: {twice[:1]}")
            told.append(f"{len(found)} {what}")
    for name in () if task.streams else task.evaluation_sets:
        labels, rows = task.row_labels(name), len(candidate.rows(name).targets)
        if labels is not None:
            require(
                len(labels) == rows, f"row_labels('{name}') gives {len(labels)} labels, and the set has {rows} rows"
            )
            told.append(f"{rows} row_labels of {name}")
    if not told:
        raise NotAsked("neither symbols nor rows have names")
    return ", ".join(told)


def samples(candidate: TaskCandidate) -> str:
    """Are the samples different rows of the test set?"""
    rows, size = [*candidate.task.samples()], len(candidate.rows("test").targets)
    require(
        len({*rows}) == len(rows) and all(0 <= row < size for row in rows),
        f"samples must be different rows of the test set, from 0 to {size - 1}, not {rows}",
    )
    return f"{len(rows)} of {size} rows"

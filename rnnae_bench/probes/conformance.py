"""Whether a model keeps what it says of its states: what the exam asks of `watch` and `step`."""

from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Tokens
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.stepping import brought_to, size_of
from rnnae_bench.contracts.task import Task
from rnnae_bench.probes.double import double_by_default, in_double
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.probes.flows import Watch
from rnnae_bench.probes.gradient_flow import UNSEEN
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.probes.misplaced import misplaced
from rnnae_bench.probes.watched import by_step

LENGTHS = (1, 2, 7)
"""Steps at which `states` and `step` are compared."""

_ROWS = 3
_ROUNDING = 1e-4
"""Of the largest number; the comparison is in double precision, and a model may compute parts of itself in single."""


def objection_to_watched(model: nn.Module, task: Task, batch: Batch, training: Mapping[str, str]) -> str | None:
    """Why states that a model shows can't be read, in one line; None where they can, or where it shows none.

    Args:
        model: Is run forwards and backwards on the batch, in evaluation mode.
        task: Gives the loss.
        batch: Rows of the task.
        training: The states that the model showed while it trained: by name, how.
    """
    watch = Watch(model, task.spec, batch)
    with closing(watch), evaluating(model), nullcontext() if watch.recordings else by_step(model):
        watch.differentiate(last_step_loss(task, training_prediction(model, batch, task.spec), batch))
    lost = misplaced(model, batch, task.spec) if watch.shown else {}
    absent = watch.flows(lambda lengths, backward: lengths - 1, lost)[1]
    wrong = [absent[name] for name in watch.shown if name in absent]
    unseen = [f"{call}: {UNSEEN}" for name, call in training.items() if name not in watch.shown]
    return next(iter(wrong + unseen), None)


def objection_to_step(model: SequenceModel) -> str | None:
    """Where `states` and the loop over `step` disagree, in one line; None where they don't, or where one is missing.

    Compared are outputs (the last one with them), and the gradients of all inputs and weights, at `LENGTHS` and, where
    the task has such, for rows of different length.

    Args:
        model: Converted to double precision for good.
    """
    if not (model.has_states and model.has_step):
        return None
    name = type(model).__name__
    with double_by_default(), evaluating(in_double(model)):
        for steps in sorted({min(steps, model.spec.sequence.length) for steps in LENGTHS}):
            generator = torch.Generator().manual_seed(steps)
            inputs = _inputs(model, steps, generator)
            lengths = torch.tensor([steps, 1, steps // 2 + 1]) if model.spec.variable_length else None
            real = torch.ones(_ROWS, steps, 1)
            if lengths is not None:
                real = (torch.arange(steps) < lengths[:, None]).double().unsqueeze(-1)
            outputs = model.states(inputs, lengths), model.unrolled(inputs, lengths)[0]
            if outputs[0].shape != outputs[1].shape:
                shapes = " and ".join(str(list(one.shape)) for one in outputs)
                return f"{name}.states and {name}.step give outputs of different shapes at {steps} steps: {shapes}"
            weights = torch.randn(outputs[0].shape, generator=generator) * real
            fast, slow = ((one * real).detach() for one in outputs)
            for what, parallel, stepped in (("outputs", fast, slow), *_gradients(model, inputs, outputs, weights)):
                off, size = float((parallel - stepped).abs().max()), float(stepped.abs().max())
                if not off <= _ROUNDING * size:
                    return (
                        f"{name}.states and {name}.step disagree at {steps} steps: their {what} differ by {off:.2g}, "
                        f"where the largest is {size:.2g}"
                    )
    return None


def objection_to_state_size(model: SequenceModel) -> str | None:
    """Where a model's `state_size` is not that of what `step` hands on, in one line; None where it is, or is not said.

    Args:
        model: Converted to double precision for good.
    """
    stated = model.state_size
    if stated is None or not model.has_step:
        return None
    with double_by_default(), evaluating(in_double(model)), torch.no_grad():
        inputs = _inputs(model, 2, torch.Generator().manual_seed(0))
        state, sizes = brought_to(model.initial_state(_ROWS), inputs), []
        for x in inputs.unbind(1):
            state = model.step(x, state)[1]
            sizes.append(size_of(state))
    found = sizes[1] if sizes[0] == sizes[1] else Growing(sizes[1] - sizes[0])
    if stated == found:
        return None
    name = type(model).__name__
    return f"{name}.state_size is {stated}, and {name}.step hands {found} numbers on (a complex number counts twice)"


def _inputs(model: SequenceModel, steps: int, generator: torch.Generator) -> Tensor:
    features = model.embedding.features
    if isinstance(model.spec.sequence, Tokens):
        return one_hot(torch.randint(features, (_ROWS, steps), generator=generator), features).double().requires_grad_()
    return torch.randn(_ROWS, steps, features, generator=generator).requires_grad_()


def _gradients(
    model: SequenceModel, inputs: Tensor, outputs: tuple[Tensor, Tensor], weights: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Pairs of gradients of the same sum of outputs, by what they are for."""
    learned = {name: one for name, one in model.named_parameters() if one.requires_grad}
    by = {"gradients of the inputs": inputs, **{f"gradients of {name}": one for name, one in learned.items()}}
    found = [torch.autograd.grad((one * weights).sum(), [*by.values()], allow_unused=True) for one in outputs]
    for what, of, *pair in zip(by, by.values(), *found, strict=True):
        parallel, stepped = (torch.zeros_like(of) if one is None else one for one in pair)
        yield what, parallel, stepped

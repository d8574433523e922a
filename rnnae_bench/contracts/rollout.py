"""A model that goes on alone, fed with its own predictions."""

from collections.abc import Callable

import torch
from jaxtyping import Shaped
from torch import Tensor

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.errors import require_positive


def rollout(
    model: Callable[..., Tensor],
    context: Shaped[Tensor, "batch time *features"],
    steps: int,
    feed: Callable[[Tensor], Tensor] | None = None,
) -> Shaped[Tensor, "batch steps outputs"]:
    """What a model predicts after a context, each prediction fed back as its next input.

    The first of the predictions is that at the end of the context. A `SequenceModel` that resumes from a state (the
    suite's own, and any with a `step`) reads each input once; any other reads the whole sequence anew for each step.
    Both give the same numbers, but for rounding.

    Args:
        model: From inputs ``[batch time *features]`` and lengths (none) to a prediction at every step, or at the last.
        context: Symbols ``[batch time]`` or vectors ``[batch time features]``, of which all count.
        steps: How many predictions.
        feed: From the prediction of one step, ``[batch outputs]``, to the next input, ``[batch *features]``; by default
            the likeliest symbol of logits, and vectors as they are.
    """
    require_positive(steps=steps)
    if feed is None:
        feed = _as_it_is if context.is_floating_point() else _likeliest
    if isinstance(model, SequenceModel) and model.resumes:
        return _resumed(model, context, steps, feed)
    answers = []
    for _ in range(steps):
        answer = model(context, None)
        answers.append(answer[:, -1] if answer.dim() == 3 else answer)
        context = torch.cat((context, feed(answers[-1]).unsqueeze(1)), dim=1)
    return torch.stack(answers, dim=1)


def _resumed(model: SequenceModel, inputs: Tensor, steps: int, feed: Callable[[Tensor], Tensor]) -> Tensor:
    answers, state = [], None
    for _ in range(steps):
        states, state = model.resume(model.embedding(inputs), state)
        answers.append(model.head(states[:, -1]))
        inputs = feed(answers[-1]).unsqueeze(1)
    return torch.stack(answers, dim=1)


def _likeliest(logits: Tensor) -> Tensor:
    return logits.argmax(dim=-1)


def _as_it_is(values: Tensor) -> Tensor:
    return values

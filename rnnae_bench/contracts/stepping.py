"""The loop over a model's `step`, which makes all states of a sequence of it."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from rnnae_bench.errors import UserError

State = Any
"""A tensor, or tensors in tuples, lists and dictionaries within each other."""

Step = Callable[[Tensor, State], tuple[Tensor, State]]


def parts_of(state: State) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a state by name: ``h`` for a state that is one tensor, else their places in it, as ``l0/h``.

    >>> [name for name, _ in parts_of({"l0": (torch.zeros(1), torch.zeros(1)), "cache": torch.zeros(1)})]
    ['l0/0', 'l0/1', 'cache']
    """
    for path, leaf in pytree.tree_flatten_with_path(state)[0]:
        if isinstance(leaf, Tensor):
            *layers, part = [str(_key(place)) for place in path] or ["h"]
            yield "/".join(([".".join(layers)] if layers else []) + [part]), leaf


def _key(place: Any) -> object:
    return next(getattr(place, name) for name in ("key", "idx", "name") if hasattr(place, name))


def size_of(state: State) -> int:
    """How many real numbers of each row a state has; a complex number counts twice, integers don't."""
    parts = (part for _, part in parts_of(state) if part.is_floating_point() or part.is_complex())
    return sum(part[0].numel() * (1 + part.is_complex()) for part in parts)


def brought_to(state: State, inputs: Tensor) -> State:
    """A state on the device of the inputs, its real and complex numbers in their precision."""

    def brought(part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        if part.is_complex():
            return part.to(inputs.device, inputs.dtype.to_complex())
        return part.to(inputs.device, inputs.dtype if part.is_floating_point() else part.dtype)

    return pytree.tree_map(brought, state)


def unroll(
    step: Step,
    state: State,
    inputs: Float[Tensor, "batch time features"],
    lengths: Int[Tensor, " batch"] | None = None,
    show: Callable[[State], object] = lambda state: None,
) -> tuple[Float[Tensor, "batch time outputs"], State]:
    """The outputs of all steps, and the state after the last of each row: a finished row keeps output and state.

    Args:
        step: From the inputs of one step, ``[batch features]``, and a state to the output ``[batch outputs]`` and the
            next state.
        state: The one before the first step, on whatever device and in whatever precision.
        inputs: What the steps read.
        lengths: Steps of each row where they differ.
        show: Called with the state after each step.
    """
    state = brought_to(state, inputs)
    outputs: list[Tensor] = []
    for t, x in enumerate(inputs.unbind(1)):
        output, new = step(x, state)
        if lengths is not None and t:
            going_on = t < lengths.to(inputs.device)
            output = _held(going_on, output, outputs[-1])
            new = _held_state(going_on, new, state)
        state = new
        outputs.append(output)
        show(state)
    return torch.stack(outputs, dim=1), state


def _held_state(going_on: Bool[Tensor, " batch"], new: State, old: State) -> State:
    leaves, form = pytree.tree_flatten(new)
    before, form_before = pytree.tree_flatten(old)
    if form != form_before:
        raise UserError(f"a step makes a state of the form {form} of one of the form {form_before}")
    return pytree.tree_unflatten([_held(going_on, *pair) for pair in zip(leaves, before, strict=True)], form)


def _held(going_on: Bool[Tensor, " batch"], new: Any, old: Any) -> Any:
    """The new values of the rows that go on, the old ones of those that ended; of what grows, the new ones of all."""
    if not isinstance(new, Tensor) or new.shape != old.shape or new.dim() == 0:
        return new
    return torch.where(going_on.view(-1, *(1,) * (new.dim() - 1)), new, old)

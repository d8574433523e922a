"""How a sequence model meets a task: what it reads of an input, and what it says from its states."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens, Vectors


class Embedding(nn.Module):
    """Turns a task's inputs into a sequence of vectors: ``Float[Tensor, "*model batch time features"]``.

    Symbols become one-hot vectors (the model's first matrix is then their embedding), vectors pass as they
    are, an image becomes its rows, a vector without time one step. It has no weights.

    Args:
        spec: The task to serve.
        of: What is read: the task's inputs, or its outputs, where a model is fed with those; classes are symbols then.
    """

    def __init__(self, spec: TaskSpec, of: Literal["inputs", "outputs"] = "inputs") -> None:
        super().__init__()
        self.of = of
        self.inputs = spec.inputs
        if of == "outputs":
            steps = spec.output_length or spec.sequence.length
            size = output_size(spec)
            self.inputs = Tokens(size, steps) if isinstance(spec.outputs, Classes) else Vectors(size, steps)
        sequence = self.inputs.rows if isinstance(self.inputs, Images | Static) else self.inputs
        self.features = sequence.vocabulary if isinstance(sequence, Tokens) else sequence.features

    def forward(self, inputs: Tensor) -> Float[Tensor, "*model batch time features"]:
        """The inputs (or outputs) as vectors."""
        if isinstance(self.inputs, Tokens):
            # `one_hot` goes by way of int64, four times as slow.
            return embedding(inputs, torch.eye(self.inputs.vocabulary, device=inputs.device))
        if isinstance(self.inputs, Images):
            return inputs.transpose(-3, -2).flatten(-2)
        return inputs.unsqueeze(-2) if isinstance(self.inputs, Static) else inputs


def output_size(spec: TaskSpec) -> int:
    """Numbers in a prediction at one step: logits of the classes, values, or the pixels of an image's row."""
    if isinstance(spec.outputs, Images):
        return spec.outputs.rows.features
    return spec.outputs.count if isinstance(spec.outputs, Classes) else spec.outputs.features


class Head(nn.Module):
    """Turns states into a prediction of the task's kind by one affine map, shared by all steps.

    Classes get logits, values their numbers, pixels a sigmoid on top (they lie in [0, 1]).

    Args:
        spec: The task to serve.
        features: Numbers in a state.
        bias: Whether the map has one.
    """

    def __init__(self, spec: TaskSpec, features: int, bias: bool = True) -> None:
        super().__init__()
        self.outputs = spec.outputs
        self.affine = nn.Linear(features, output_size(spec), bias)

    def forward(self, states: Float[Tensor, "*axes features"]) -> Tensor:
        """Logits or values ``[*axes, size]``; for images ``[*model batch channel height width]``."""
        prediction = self.affine(states)
        if not isinstance(self.outputs, Images):
            return prediction
        rows = prediction.unflatten(-1, (self.outputs.channels, self.outputs.width))
        return torch.sigmoid(rows).transpose(-3, -2)


def last_state(
    states: Float[Tensor, "*model batch time hidden"],
    lengths: Int[Tensor, "*model batch"] | None,
    bidirectional: bool = False,
) -> Float[Tensor, "*model batch hidden"]:
    """The state after the whole sequence was read.

    That is the state at the last step; for a bidirectional model the backward half has read the whole
    sequence at the first step, so its half is taken from there.
    """
    if lengths is None:
        last = states[..., -1, :]
    else:
        place = (lengths - 1)[..., None, None]
        last = torch.take_along_dim(states, place, dim=-2).squeeze(-2)
    if not bidirectional:
        return last
    forward_half = last.chunk(2, dim=-1)[0]
    backward_half = states[..., 0, :].chunk(2, dim=-1)[1]
    return torch.cat((forward_half, backward_half), dim=-1)

"""The base class of models that read a sequence and answer with another, of its own length."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.heads import Embedding, Head
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import Classes, TaskSpec


class EncoderDecoder(BenchModule):
    """A model that reads a sequence whole and answers step by step, each step fed with the answer before.

    Subclasses give `encode` and `decode`; embedding, feedback and head come with the spec. In training the decoder is
    fed with the targets (teacher forcing: Williams & Zipser 1989), all steps in one call; at evaluation with its own
    answers, the likeliest class or the values, one step a call, up to the longest output of the task. The first step is
    fed with zeros.

    Args:
        spec: The task to serve.
        features: Size of the vector that `decode` returns at each step.
        optimization: How to train.
    """

    def __init__(self, spec: TaskSpec, features: int, optimization: Optimization) -> None:
        super().__init__(spec, optimization)
        self.embedding = Embedding(spec)
        self.feedback = Embedding(spec, of="outputs")
        self.head = Head(spec, features)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses tasks whose outputs have no length of their own."""
        if spec.predicts != "own length":
            return f"it answers with a sequence of its own length, and the task predicts {spec.predicts}"
        return super().supports(spec, **hyperparameters)

    @abstractmethod
    def encode(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Any:
        """The decoder's first state, of whatever form: what is known of the embedded inputs after all were read."""

    @abstractmethod
    def decode(
        self, previous: Float[Tensor, "batch steps features"], state: Any
    ) -> tuple[Float[Tensor, "batch steps hidden"], Any]:
        """The vector that each step's answer is read off, and the state after the last of them.

        Args:
            previous: The answer before each step, embedded: `feedback.features` numbers; zeros before the first.
            state: What `encode` gave, or this method for the steps before.
        """

    def forward(
        self,
        inputs: Tensor,
        lengths: Int[Tensor, " batch"] | None = None,
        targets: Tensor | None = None,
    ) -> Float[Tensor, "batch steps size"]:
        """The prediction: as many steps as the targets have, fed with these; without them, as many as there may be."""
        state = self.encode(self.embedding(inputs), lengths)
        previous = self.head.affine.weight.new_zeros(len(inputs), 1, self.feedback.features)
        symbols = isinstance(self.spec.outputs, Classes)
        if targets is not None:
            # Padding may be any number, and nothing that counts comes after it.
            known = self.feedback(targets.clamp(min=0) if symbols else targets)
            return self.head(self.decode(torch.cat((previous, known[:, :-1]), dim=1), state)[0])
        answers = []
        for _ in range(self.spec.output_length or 0):
            outputs, state = self.decode(previous, state)
            answers.append(self.head(outputs))
            previous = self.feedback(answers[-1].argmax(-1) if symbols else answers[-1])
        return torch.cat(answers, dim=1)

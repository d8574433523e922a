"""n-grams: how often each answer followed the last symbols, and with how few of them nothing is known.

The chance of an answer after a context of k symbols is interpolated with that after k - 1 of them (Witten & Bell 1991,
The zero-frequency problem, IEEE Transactions on Information Theory 37(4), method C):

    p_k(y | c) = (n(c, y) + d(c) p_(k-1)(y | c')) / (n(c) + d(c)),

with n(c) the count of the context, d(c) how many different answers it has had, c' without its oldest symbol, and p_(-1)
the same for all answers.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_positive

_MULTIPLIER = 0x9E3779B1
"""Of the hash of contexts that are too many for a table (Knuth, The art of computer programming, volume 3, 6.4)."""


class NGram(BenchModule):
    """n-gram model with Witten and Bell's interpolation (1991): a table from the last symbols to answers.

    It counts, in its training batches, how often each answer came after the last k inputs, for every k up to `order`;
    the answer is the logarithm of the interpolated chances. Where the answer is the next symbol this is the n-gram
    model of order + 1. Contexts of k symbols that are more than `slots` share slots by a hash. It has no weights; its
    tables hold sum_k min(V^k, slots) C numbers of V symbols and C answers, and its state is the last `order` symbols.

    Args:
        spec: The task to serve.
        order: Inputs that are read, the present one included.
        slots: Contexts of a length that a table holds, at most.
    """

    def __init__(self, spec: TaskSpec, order: int = 4, slots: int = 2**15) -> None:
        require_positive(order=order, slots=slots)
        reason = self.supports(spec)
        if reason is not None:
            raise UserError(f"NGram cannot serve task '{spec.task}': {reason}")
        if order > 64:
            raise UserError(f"order is {order}; it must be at most 64")
        super().__init__(spec)
        assert isinstance(spec.inputs, Tokens)
        assert isinstance(spec.outputs, Classes)
        self.order, self.slots = order, slots
        self.symbols, self.classes = spec.inputs.vocabulary + 1, spec.outputs.count
        for length in range(order + 1):
            size = min(self.symbols**length, slots)
            self.register_buffer(f"counts_{length}", torch.zeros(size, self.classes))

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what is not symbols in and classes out at every step."""
        if not isinstance(spec.inputs, Tokens) or not isinstance(spec.outputs, Classes):
            return f"it counts symbols and classes, and the task has {spec.inputs} and {spec.outputs}"
        if spec.predicts != "every step":
            return f"it answers at every step, and the task asks for an answer {spec.predicts}"
        return super().supports(spec, **hyperparameters)

    @property
    def state_size(self) -> int:
        """Symbols that it still needs."""
        return self.order

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        """Count, in all training batches of the budget."""
        for step in range(task.protocol.max_steps):
            batch = task.train_batch(step).to(self.device)
            counted = batch.scored(self.spec)
            answers = batch.targets[counted]
            for length, places in enumerate(self.places(batch.inputs)):
                table = self.counts(length)
                flat = places[counted] * self.classes + answers
                table += flat.bincount(minlength=table.numel()).view_as(table).to(table)

    def counts(self, length: int) -> Float[Tensor, "slots classes"]:
        """How often each answer came in each slot of the contexts of a length."""
        table: Tensor = getattr(self, f"counts_{length}")
        return table

    def places(self, inputs: Int[Tensor, "batch time"]) -> list[Int[Tensor, "batch time"]]:
        """The slot of the last 0, 1, ... `order` inputs at each step; before the first stands a symbol of its own."""
        before = torch.full_like(inputs[:, : self.order], self.symbols - 1)
        if inputs.shape[1] < self.order:
            before = inputs.new_full((len(inputs), self.order), self.symbols - 1)
        seen, steps = torch.cat((before, inputs), dim=1), inputs.shape[1]
        found, code = [torch.zeros_like(inputs)], torch.zeros_like(inputs)
        exact = True
        for length in range(1, self.order + 1):
            oldest = seen[:, self.order - length + 1 :][:, :steps]
            exact = self.symbols**length <= self.slots
            power = self.symbols ** (length - 1)
            code = code + power * oldest if exact else (code * _MULTIPLIER + oldest + 1) % (2**31 - 1)
            found.append(code if exact else (code * _MULTIPLIER % (2**31 - 1)) % self.slots)
        return found

    def forward(
        self, inputs: Int[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch time classes"]:
        """Logarithms of the interpolated chances of each answer at every step."""
        chances: Any = 1 / self.classes
        for length, places in enumerate(self.places(inputs)):
            counts = self.counts(length)[places]
            different = (counts > 0).sum(-1, keepdim=True)
            total = counts.sum(-1, keepdim=True)
            known = total > 0
            interpolated = (counts + different * chances) / torch.where(known, total + different, 1)
            chances = torch.where(known, interpolated, chances)
        return torch.as_tensor(chances).log()

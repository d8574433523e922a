"""n-grams: how often each answer followed the last symbols, and with how few of them nothing is known.

The chance of an answer after a context of k symbols is interpolated with that after k - 1 of them (Witten & Bell 1991,
The zero-frequency problem, IEEE Transactions on Information Theory 37(4), method C):

    p_k(y | c) = (n(c, y) + s d(c) p_(k-1)(y | c')) / (n(c) + s d(c)),

with n(c) the count of the context, d(c) how many different answers it has had, c' without its oldest symbol, p_(-1) the
same for all answers, and a strength s, which is 1 with Witten and Bell.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_positive

_MULTIPLIER = 0x9E3779B1
"""Of the hash of contexts that are too many for a table (Knuth, The art of computer programming, volume 3, 6.4)."""
_PRIME = 2**31 - 1

SLOTS, LARGEST = 2**18, 2**23
"""Contexts and numbers of a table, at most."""

STRENGTHS = tuple(2.0**power for power in range(-1, 8))
"""Those that are tried on the validation set."""

HELD_OUT = 500
"""Rows of the validation set, at most, on which they are."""


class NGram(BenchModule):
    """n-gram model with Witten and Bell's interpolation (1991): a table from the last symbols to answers.

    It counts, in its training batches, how often each answer came after the last k inputs, for every k up to `order`;
    its answer is the logarithm of the interpolated chances. Where the answer is the next symbol this is the n-gram
    model of order + 1. Where a sequence is answered once, it is Bayes' rule over classes: of each class an n-gram model
    of runs of `order` symbols, beginning and end of a sequence among them, and prior chances as often as the classes
    came (one more each). A context goes back to the beginning at most.

    Contexts of k symbols that may be more than `slots` are hashed: of those that come to one slot, one has it, and the
    others count as never seen. It has no weights. Of V symbols and C
    answers its tables hold sum_k min(V^k, slots) C whole numbers, k up to `order`, and its state is the last `order`
    symbols; of classes of sequences, sum_k min(C V^k, slots) V, k below `order`, and C numbers more in the state.

    Args:
        spec: The task to serve.
        order: Inputs that are read, the present one included.
        slots: Contexts of a length that a table holds, at most. None: 2^18, or as many as make 2^23 numbers.
        strength: Of the interpolation, s. A task that gives its rows again and again multiplies what is counted, and
            not how many answers were different: as many epochs are undone by as much strength. None: of powers of 2 the
            best on the validation set.
        equal_priors: Whether classes of sequences are equally likely before: for scores that weigh classes alike.
    """

    bibtex = ("witten1991",)

    strength: Tensor

    def __init__(
        self,
        spec: TaskSpec,
        order: int = 4,
        slots: int | None = None,
        strength: float | None = 1.0,
        equal_priors: bool = False,
    ) -> None:
        given = {"order": order, "slots": slots, "strength": strength}
        require_positive(**{option: value for option, value in given.items() if value is not None})
        reason = self.supports(spec)
        if reason is not None:
            raise UserError(f"NGram cannot serve task '{spec.task}': {reason}")
        if order > 64:
            raise UserError(f"order is {order}; it must be at most 64")
        super().__init__(spec)
        assert isinstance(spec.inputs, Tokens)
        assert isinstance(spec.outputs, Classes)
        self.order, self.equal_priors, self.chosen = order, equal_priors, strength is None
        self.symbols, self.classes = spec.inputs.vocabulary + 1, spec.outputs.count
        self.once = spec.predicts == "last step"
        self.groups, self.answers = (self.classes, self.symbols) if self.once else (1, self.classes)
        self.slots = max(1, min(SLOTS, LARGEST // self.answers)) if slots is None else slots
        for length in range(order if self.once else order + 1):
            size = min(self.groups * self.symbols**length, self.slots)
            self.register_buffer(f"counts_{length}", torch.zeros(size, self.answers, dtype=torch.int32))
            self.register_buffer(f"owners_{length}", torch.full((size,), -1, dtype=torch.int64))
        if self.once:
            self.register_buffer("classes_seen", torch.zeros(self.classes, dtype=torch.int64))
        self.register_buffer("strength", torch.tensor(1.0 if strength is None else float(strength)))

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what is not symbols in and classes out."""
        if not isinstance(spec.inputs, Tokens) or not isinstance(spec.outputs, Classes):
            return f"it counts symbols and classes, and the task has {spec.inputs} and {spec.outputs}"
        return super().supports(spec, **hyperparameters)

    @property
    def state_size(self) -> int:
        """Symbols that it still needs, and where a sequence is answered once, what speaks for each class."""
        return self.order - 1 + self.classes if self.once else self.order

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        """Count, in all training batches of the budget."""
        for batch in map(task.train_batch, range(task.protocol.max_steps)):
            for length, (slots, codes, _) in enumerate(self._counted(batch.to(self.device))):
                self.get_buffer(f"owners_{length}").scatter_reduce_(0, slots, codes, "amax")
        for batch in map(task.train_batch, range(task.protocol.max_steps)):
            for length, (slots, codes, answers) in enumerate(self._counted(batch.to(self.device))):
                owned = self.get_buffer(f"owners_{length}")[slots] == codes
                flat = (slots * self.answers + answers)[owned]
                self.counts(length).view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
            if self.once:
                self.get_buffer("classes_seen").add_(batch.targets.to(self.device).bincount(minlength=self.classes))
        if self.chosen:
            held_out = task.held_out(HELD_OUT).to(self.device)
            self.strength.fill_(min(STRENGTHS, key=lambda one: self._error(one, held_out)))

    def _counted(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Slots and codes of the contexts of 0, 1, ... symbols of a batch, and what came after each."""
        if self.once:
            group, answers, counted = batch.targets.view(-1, 1, 1), *self._ended(batch.inputs, batch.lengths)
        else:
            group, answers, counted = batch.targets.new_zeros(1, 1, 1), batch.targets, batch.scored(self.spec)
        for slots, codes in self.places(batch.inputs, group):
            yield slots[..., 0][counted], codes[..., 0][counted], answers[counted]

    def _error(self, strength: float, batch: Batch) -> float:
        """The cross-entropy of a batch under a strength."""
        self.strength.fill_(strength)
        logits, targets = self(batch.inputs, batch.lengths), batch.targets
        if not self.once:
            counted = batch.scored(self.spec)
            logits, targets = logits[counted], targets[counted]
        return float(cross_entropy(logits, targets))

    def counts(self, length: int) -> Int[Tensor, "slots answers"]:
        """How often each answer came in each slot of the contexts of a length."""
        return self.get_buffer(f"counts_{length}")

    def _ended(self, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Symbols of sequences and an end after each, ``[batch time+1]``, and which of these are no padding."""
        rows, steps = inputs.shape
        ends = inputs.new_full((rows,), steps) if lengths is None else lengths.to(inputs)
        step = torch.arange(steps + 1, device=inputs.device)
        answers = torch.cat((inputs, inputs.new_zeros(rows, 1)), dim=1)
        return torch.where(step == ends[:, None], self.symbols - 1, answers), step <= ends[:, None]

    def places(self, inputs: Int[Tensor, "batch time"], group: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Slots, and what tells contexts that share one apart, of the last 0, 1, ... symbols at each step.

        Both are ``[batch steps groups]``. Before the first input stands a symbol of its own.

        Args:
            inputs: What is read. Of sequences that are answered once a step more comes of it: before the first input.
            group: The classes whose tables are read, ``[batch or 1, 1, groups]``; 0 where there are no such.
        """
        depth = self.order - 1 if self.once else self.order
        seen = torch.cat((inputs.new_full((len(inputs), depth + 1), self.symbols - 1), inputs), dim=1)
        steps = inputs.shape[1] + int(self.once)
        context = torch.zeros_like(seen[:, -steps:])
        for length in range(depth + 1):
            is_exact = self.groups * self.symbols**length <= self.slots
            if length:
                oldest = seen[:, seen.shape[1] - steps - length + 1 :][:, :steps]
                power = self.symbols ** (length - 1)
                context = context + power * oldest if is_exact else (context * _MULTIPLIER + oldest + 1) % _PRIME
            if is_exact:
                code = context.unsqueeze(2) * self.groups + group
            else:
                code = (context.unsqueeze(2) * _MULTIPLIER + group + 1) % _PRIME
            yield code % self.slots, code

    def forward(
        self, inputs: Int[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *time classes"]:
        """Logarithms of the interpolated chances of each answer, at every step; or of each class and the sequence."""
        if not self.once:
            return self._chances(inputs, inputs.new_zeros(1, 1, 1), None).log()
        answers, counted = self._ended(inputs, lengths)
        group = torch.arange(self.classes, device=inputs.device).view(1, 1, -1)
        said = self._chances(inputs, group, answers.unsqueeze(2)).log()
        seen = self.get_buffer("classes_seen").float() + 1
        return (said * counted.unsqueeze(2)).sum(1) + (0.0 if self.equal_priors else seen.log() - seen.sum().log())

    def _chances(self, inputs: Tensor, group: Tensor, answers: Tensor | None) -> Float[Tensor, "batch steps chances"]:
        """Of all answers, or of one in each group; in single precision whatever the format of the weights."""
        chances, strength = torch.tensor(1 / self.answers, dtype=torch.float32, device=inputs.device), self.strength
        for length, (slots, codes) in enumerate(self.places(inputs, group)):
            table = self.counts(length)
            counts = table[slots.squeeze(2)] if answers is None else table[slots, answers]
            total, different = table.sum(1)[slots].float(), (table > 0).sum(1)[slots].float()
            known = (total > 0) & (self.get_buffer(f"owners_{length}")[slots] == codes)
            weight = strength.float() * different
            interpolated = (counts.float() + weight * chances) / (total + weight).clamp(min=1e-30)
            # At step t there are t + 1 symbols before and the beginning; one less before the first input.
            reach = torch.arange(slots.shape[1], device=inputs.device).view(1, -1, 1) + 2 - int(self.once)
            chances = torch.where(known & (length <= reach), interpolated, chances)
        return chances.clamp(min=torch.finfo(torch.float32).tiny)

"""The flip-flop task's data, loss, metrics and floors."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_fraction, require_positive
from rnnae_bench.metrics import CrossEntropy, ErrorRate, cross_entropy

WRITE, IGNORE, READ = 2, 3, 4
"""The instructions' tokens; a bit is its own."""
PROBES = {"test@sparse": 0.98, "test@dense": 0.1}
"""Sets in which the instruction to ignore is rarer or more frequent than in training, and how frequent it is."""


class FlipFlopTask(Task):
    """Read the bit that was written last, whatever bits were to be ignored since.

    One row, of 8 instructions (``w`` write, ``i`` ignore, ``r`` read), each with its bit; the last bit is no input::

        input    w 1 i 0 r 1 i 0 i 1 w 0 i 1 r
        target           1                   0

    The first instruction writes and the last reads; of those between, `ignore` are ignored, and half of the others each
    write and read. Bits that are written or ignored are fair. A read bit is the one written last; these alone are asked
    for. Training sequences are drawn afresh at every step.

    Args:
        length: Tokens of a sequence, instructions and bits; an even number.
        ignore: Share of the instructions between the first and the last that are ignored, in training, validation and
            test. It is 0.98 in ``test@sparse`` and 0.1 in ``test@dense``.
        evaluation_size: Sequences in each evaluation set.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "flipflop"
    evaluation_sets = ("validation", "test", *PROBES)

    def __init__(
        self,
        length: int = 64,
        ignore: float = 0.8,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        if length < 4 or length % 2:
            raise UserError(f"length is {length}; it must be an even number from 4 on, an instruction and a bit each")
        require_fraction(ignore=ignore)
        require_positive(evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.length, self.ignore, self.evaluation_size = length, ignore, evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """Bits and instructions in; a bit out at every step, of which those of a read are scored."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=5, length=self.length - 1),
            outputs=Classes(2),
            predicts="every step",
            causal=True,
        )

    def sequences(self, count: int, ignore: float, generator: torch.Generator) -> Batch:
        """Draw sequences; targets and mask, ``"count time"``, are the bits to read and where."""
        size = (count, self.length // 2)
        drawn = torch.rand(size, generator=generator)
        instructions = torch.where(drawn < ignore, IGNORE, torch.where(drawn < (1 + ignore) / 2, WRITE, READ))
        instructions[:, 0], instructions[:, -1] = WRITE, READ
        bits = torch.randint(2, size, generator=generator)
        bits = bits.gather(1, bit_sources(instructions))
        tokens = torch.stack([instructions, bits], dim=2).flatten(1)
        reads = tokens[:, :-1] == READ
        return Batch(tokens[:, :-1], tokens[:, 1:] * reads, mask=reads)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        generator = self.generator("train", self.data_seed, step)
        return self.sequences(self.protocol.batch_size, self.ignore, generator)

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, PROBES.get(name, self.ignore), self.generator(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over the bits that a row reads."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Share of the read bits that are wrong, and their cross-entropy."""
        return MetricCollection({"read_error": ErrorRate(), "read_loss": CrossEntropy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Errors of each row, in units of the reads that a row of the test set has on average."""
        if metric != "read_error" or batch.mask is None:
            return None
        reads = self.evaluation_set("test").mask
        assert reads is not None
        wrong = (prediction.argmax(-1) != batch.targets) & batch.mask
        return wrong.sum(1) * (len(reads) / reads.sum())

    def baseline(self, name: str) -> dict[str, float]:
        """``coin``: either bit alike. ``last_bit``: the bit before. ``ngram``: see `longest_match`."""
        if name == "coin":
            return {"read_error": 0.5, "read_loss": math.log(2)}
        if name == "ngram":
            unknown = longest_match(self.length // 2, self.ignore, self.protocol.max_steps * self.protocol.batch_size)
            return {"read_error": unknown / 2, "read_loss": unknown * math.log(2)}
        answer = self.baseline_answer(name)
        if answer is None:
            raise UserError(f"task 'flipflop' has no baseline '{name}'; it has coin, last_bit, ngram")
        error = ErrorRate()
        error.update(answer, self.evaluation_set("test"))
        return {"read_error": error.compute().item()}

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time class"] | None:
        """``last_bit``: the bit of the instruction before, whichever that was."""
        if name != "last_bit":
            return None
        inputs = self.evaluation_set("test").inputs
        before = torch.cat([torch.zeros_like(inputs[:, :1]), inputs[:, :-1]], dim=1)
        return one_hot(before.clamp(max=1), 2).float()


def bit_sources(instructions: Int[Tensor, "count instruction"]) -> Int[Tensor, "count instruction"]:
    """Whose bit each instruction has: a read that of the last write, and any other its own."""
    index = torch.arange(instructions.shape[1]).expand_as(instructions)
    written = torch.where(instructions == WRITE, index, 0).cummax(dim=1).values
    return torch.where(instructions == READ, written, index)


def longest_match(instructions: int, ignore: float, sequences: int) -> float:
    """Share of the reads of which an n-gram of unlimited order, counted on training sequences, knows nothing.

    It looks up the longest end of the sequence so far that was met in training before a read. That tells the bit where
    it reaches back to the last instruction that was not ignored, and nothing where it does not. With d ignored since
    then, such an end has d + 1 bits, all alike, and one of two instructions, of which the first of a sequence is a
    write: if k of them are expected in a training sequence, one of given bits is not met in n sequences with a chance
    of exp(-k n / 2^(d + 1)).

    Args:
        instructions: In a sequence.
        ignore: Share of those between the first and the last that are ignored.
        sequences: How many were counted.
    """
    reads = [(index, (1 - ignore) / 2) for index in range(1, instructions - 1)] + [(instructions - 1, 1.0)]
    total = 0.0
    expected = torch.zeros(2, instructions, dtype=torch.float64)  # after a write or a read, by d
    for index, share in reads:
        ignored = torch.arange(index - 1, dtype=torch.float64)
        expected[:, : index - 1] += share * ignore**ignored * (1 - ignore) / 2
        expected[0, index - 1] += share * ignore ** (index - 1)
        total += share
    missed = torch.exp(-expected * sequences * 0.5 ** torch.arange(1.0, instructions + 1, dtype=torch.float64))
    return (expected * missed).sum().item() / total

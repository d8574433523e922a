"""The character-level language modelling task's data, loss, metrics and baselines."""

import bz2
import lzma
import math
import zlib
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, BitsPerSymbol, cross_entropy
from rnnae_tasks.charlm.kneser_ney import KneserNey
from rnnae_tasks.datasets.narrative import packed_narrative

EVALUATION_ROWS = 64
"""Pieces that the validation and the test part are each cut into, which are read side by side."""

LONGEST_NGRAM = 64
"""Characters, at most: counting takes time in proportion."""

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda text: zlib.compress(text, 9),
    "bz2": lambda text: bz2.compress(text, 9),
    "lzma": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
}


class CharLMTask(Task):
    """Read English prose character by character, and say at each step which one follows.

    One row, with length=12 (``_`` a space)::

        input    N o w _ a f t e r _ t h
        target   o w _ a f t e r _ t h e

    The text is cut by place into training (85%), validation (5%) and test part (10%). Each row of a training batch
    goes on where the same row of the batch before ended, so that a model may carry its state over; after the end of the
    part comes its beginning. At evaluation each part is read in 64 long rows, side by side: what is to be remembered is
    remembered within a row, from its first character to its last.

    Args:
        length: Characters that a training row reads, and the gradient goes back over.
        characters: How much of the text is taken, from its beginning; 0 takes all.
        ngram_order: Characters in an n-gram of the baseline of this name, the predicted one included.
        protocol: Budget and batch sizes.
        data_seed: Fixes where in the text the training begins.
    """

    name = "charlm"

    def __init__(
        self,
        length: int = 64,
        characters: int = 0,
        ngram_order: int = 12,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(length=length)
        if not 1 <= ngram_order <= LONGEST_NGRAM:
            raise UserError(f"ngram_order is {ngram_order}; it must be from 1 to {LONGEST_NGRAM}")
        whole = packed_narrative()
        fewest = 20 * (EVALUATION_ROWS + 1)
        if characters != 0 and not fewest <= characters <= len(whole):
            raise UserError(f"characters is {characters}; it must be from {fewest} to {len(whole)}, or 0 for all")
        super().__init__(protocol, data_seed)
        self.length, self.ngram_order = length, ngram_order
        self.text = whole[:characters] if characters else whole
        self.alphabet = "".join(sorted(set(self.text)))
        """The characters; the index here is the token."""
        index = {character: token for token, character in enumerate(self.alphabet)}
        self._tokens: Int[Tensor, " place"] = torch.tensor([index[character] for character in self.text])
        size = len(self.text)
        self.parts = {
            "train": (0, 17 * size // 20),
            "validation": (17 * size // 20, 9 * size // 10),
            "test": (9 * size // 10, size),
        }
        """First and one-past-last place of each part."""

    @property
    def input_names(self) -> str:
        """The characters."""
        return self.alphabet

    @property
    def spec(self) -> TaskSpec:
        """A character in, the next one out, at every step; batches continue each other."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=len(self.alphabet), length=self.length),
            outputs=Classes(len(self.alphabet)),
            predicts="every step",
            causal=True,
            continues=True,
        )

    def train_batch(self, step: int) -> Batch:
        """Rows evenly spread over the training part, each going on where it ended a step before."""
        rows, size = self.protocol.batch_size, self.parts["train"][1]
        begin = int(torch.randint(size, (1,), generator=self.generator("begin", self.data_seed)))
        starts = torch.arange(rows) * size // rows + begin + step * self.length
        places = (starts[:, None] + torch.arange(self.length + 1)) % size
        return _shifted(self._tokens[places])

    def evaluation_set(self, name: str) -> Batch:
        """The whole part in 64 rows, one after the other in the text: ``Int[Tensor, "row time"]``.

        Every character of the part is predicted but its first one, and the last few that do not fill 64 rows.
        """
        start, stop = self._evaluated(name)
        steps = (stop - start) // EVALUATION_ROWS
        return Batch(
            self._tokens[start - 1 : stop - 1].view(EVALUATION_ROWS, steps),
            self._tokens[start:stop].view(EVALUATION_ROWS, steps),
        )

    def _evaluated(self, name: str) -> tuple[int, int]:
        """First and one-past-last place of the characters that are predicted in a part."""
        start, stop = self.parts[name]
        steps = (stop - start - 1) // EVALUATION_ROWS
        return start + 1, start + 1 + steps * EVALUATION_ROWS

    def held_out(self, rows: int) -> Batch:
        """Beginnings of rows of the validation set, as long as a training row or a little shorter."""
        batch = super().held_out(rows)
        return Batch(batch.inputs[:, : self.length].contiguous(), batch.targets[:, : self.length].contiguous())

    def samples(self) -> tuple[int, ...]:
        """Two rows: they are long."""
        return 0, EVALUATION_ROWS // 2

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over all steps."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Cross-entropy in bits, and the share of the characters that were foreseen."""
        return MetricCollection({"bits_per_character": BitsPerSymbol(), "accuracy": Accuracy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Bits a character of each row, or the share of its characters that were foreseen."""
        if metric == "accuracy":
            return (prediction.argmax(-1) == batch.targets).float().mean(dim=1)
        if metric != "bits_per_character":
            return None
        said = prediction.log_softmax(-1).gather(2, batch.targets.unsqueeze(2)).squeeze(2)
        return -said.mean(dim=1) / math.log(2)

    def baseline(self, name: str) -> dict[str, float]:
        """Bits that a character of the test part costs.

        ``unigram``, ``ngram``: Kneser and Ney's model of order 1 or `ngram_order`, counted in the training part, with
        all that comes before a character for its context. ``zlib``, ``bz2``, ``lzma``: how much longer a compressor
        makes the training and the test text together than the training text alone.
        """
        start, stop = self._evaluated("test")
        counted = self.parts["train"][1]
        if name in COMPRESSORS:
            compress, known = COMPRESSORS[name], self.text[:counted]
            more = len(compress((known + self.text[start:stop]).encode())) - len(compress(known.encode()))
            return {"bits_per_character": 8 * more / (stop - start)}
        if name not in {"unigram", "ngram"}:
            raise UserError(f"task 'charlm' has no baseline '{name}'; it has unigram, ngram, {', '.join(COMPRESSORS)}")
        order = 1 if name == "unigram" else self.ngram_order
        return {"bits_per_character": self.counted_bits(order, "test")}

    def counted_bits(self, order: int, part: str) -> float:
        """Bits a character of a part by an n-gram model of this order, counted in the training part."""
        model = KneserNey(self._tokens.numpy(), self.parts["train"][1], len(self.alphabet), order)
        return -math.log2(math.e) * float(model.log_probabilities(*self._evaluated(part)).mean())


def _shifted(tokens: Int[Tensor, "batch places"]) -> Batch:
    """Each row but its last symbol as inputs, and but its first as targets."""
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())

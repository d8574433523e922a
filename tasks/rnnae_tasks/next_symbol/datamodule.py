"""The next-symbol task's data, loss, metrics and baselines."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, BitsPerSymbol, cross_entropy
from rnnae_tasks.next_symbol.known_text import after_prefixes, after_symbols


class NextSymbolTask(Task):
    """Read a text that repeats without end, from any place of it on, and say at each step which symbol follows.

    One row, with text="HELLO" and length=5, begun at the second letter::

        input    E L L O H
        target   L L O H E

    After an L comes an L or an O, and the symbol before tells which. There are as many rows as the text has places to
    begin at: training draws from them, and the test set is each of them once. Nothing is held out, for the text is all
    that there is to know; the validation set has the test set's rows in the reverse order.

    Args:
        text: What repeats: at least two different symbols.
        length: Symbols that are read, and as many are predicted.
        protocol: Budget and batch sizes.
        data_seed: Fixes where the training rows begin.
    """

    name = "next_symbol"

    def __init__(
        self,
        text: str = "HELLO",
        length: int = 5,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(length=length)
        if len(set(text)) < 2:
            raise UserError(f"text is {text!r}; it must have at least two different symbols")
        super().__init__(protocol, data_seed)
        self.text, self.length = text, length
        self.alphabet = "".join(sorted(set(text)))
        """The symbols; the index here is the token."""
        symbols = torch.tensor([self.alphabet.index(symbol) for symbol in text])
        around = (torch.arange(len(text))[:, None] + torch.arange(length + 1)) % len(text)
        self._rows: Int[Tensor, "start time"] = symbols[around]

    @property
    def input_names(self) -> str:
        """The symbols."""
        return self.alphabet

    @property
    def spec(self) -> TaskSpec:
        """A symbol in, the next one out, at every step."""
        symbols = len(self.alphabet)
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=symbols, length=self.length),
            outputs=Classes(symbols),
            predicts="every step",
            causal=True,
        )

    def rows_from(self, starts: Int[Tensor, " batch"]) -> Batch:
        """The rows that begin at these places of the text: inputs and targets ``Int[Tensor, "batch time"]``."""
        rows = self._rows[starts]
        return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    def train_batch(self, step: int) -> Batch:
        """Rows that begin anywhere, each place as likely as any other."""
        generator = self.generator("train", self.data_seed, step)
        return self.rows_from(torch.randint(len(self.text), (self.protocol.batch_size,), generator=generator))

    def evaluation_set(self, name: str) -> Batch:
        """The row of each place, in the order of the text; of the validation set, in the reverse order."""
        starts = torch.arange(len(self.text))
        return self.rows_from(starts.flip(0) if name == "validation" else starts)

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over all steps."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Cross-entropy in bits, and the share of the symbols that were foreseen."""
        return MetricCollection({"bits_per_symbol": BitsPerSymbol(), "accuracy": Accuracy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Bits a symbol of each row, or the share of its symbols that were foreseen."""
        if metric == "accuracy":
            return (prediction.argmax(-1) == batch.targets).float().mean(dim=1)
        if metric != "bits_per_symbol":
            return None
        said = prediction.log_softmax(-1).gather(2, batch.targets.unsqueeze(2)).squeeze(2)
        return -said.mean(dim=1) / torch.log(torch.tensor(2.0, device=said.device))

    def baseline_answer(self, name: str) -> Float[Tensor, "start time class"]:
        """The logarithms of what each baseline holds likely at every step of the test set.

        ``unigram``: how often each symbol stands in the text. ``bigram``: how often it follows the symbol just read,
        which is all that one without memory can know. ``optimum``: the share of the places that all symbols read so far
        fit, and that it follows.
        """
        inputs, targets = self.evaluation_set("test")[:2]
        classes = len(self.alphabet)
        if name == "unigram":
            chances = targets[:, 0].bincount(minlength=classes) / len(targets)
            chances = chances.expand(*inputs.shape, classes)
        elif name == "bigram":
            chances = after_symbols(targets[:, 0], inputs[:, 0], classes)[inputs]
        elif name == "optimum":
            chances = after_prefixes(inputs, targets, classes)
        else:
            raise UserError(f"task 'next_symbol' has no baseline '{name}'; it has unigram, bigram, optimum")
        return chances.float().clamp(min=1e-30).log()

    def baseline(self, name: str) -> dict[str, float]:
        """What a baseline's answers to the test set come to."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}

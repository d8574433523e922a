"""The Reber grammar task's data, loss, metrics and baselines."""

import math
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, BitsPerSymbol, counted_steps, summed_cross_entropy, update_metrics
from rnnae_tasks.reber.grammar import CHANCES, OPENED, REPEATING, START, SYMBOLS, draw, follow, visits
from rnnae_tasks.reber.metrics import LegalSets, RepeatedSymbol, legal
from rnnae_tasks.reber.ngram import ngram_chances

NGRAM_STRINGS = 20_000
"""What the n-gram model counts: strings, of 12 symbols on average."""


class ReberTask(Task):
    """Predict the next symbol of strings of the embedded Reber grammar, whose second symbol comes again at the end.

    The first test row::

        input    B T B T S S S S S X S E T
        target   T B T S S S S S X S E T E

    A string is ``B``, then ``T`` or ``P``, a string of the Reber grammar (``BTSSSSSXSE``), the same ``T`` or ``P``, and
    ``E``. Wherever the grammar has two ways they are alike. With ``continual`` strings follow each other without a sign
    or a reset, and each row of a training batch goes on where the same row of the batch before ended.

    Args:
        length: Steps of the longest row; a longer string is cut. With continual, steps of every row.
        continual: One endless stream in each row, instead of one string.
        evaluation_size: Rows of the validation and of the test set, each. With continual there is another test set
            with a tenth of the rows, each 10 times as long.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training strings.
    """

    name = "reber"

    def __init__(
        self,
        length: int = 50,
        continual: bool = False,
        evaluation_size: int = 2000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        if length < 8:
            raise UserError(f"length is {length}; it must be at least 8, the steps of the shortest string")
        require_positive(evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.length, self.continual, self.evaluation_size = length, continual, evaluation_size
        if continual:
            self.evaluation_sets = ("validation", "test", "test@10x")
        self._begins: tuple[int, Tensor, Tensor] | None = None

    @property
    def input_names(self) -> str:
        """The letters of the grammar."""
        return SYMBOLS

    @property
    def spec(self) -> TaskSpec:
        """A symbol in and the next one out, at every step."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=len(SYMBOLS), length=self.length),
            outputs=Classes(len(SYMBOLS)),
            predicts="every step",
            causal=True,
            variable_length=not self.continual,
            continues=self.continual,
        )

    def _opened(self, count: int) -> tuple[Int[Tensor, " count"], Int[Tensor, " count"]]:
        """The state and the last symbol of `count` strings of which the first symbol was read."""
        return torch.full((count,), OPENED), torch.full((count,), SYMBOLS.index("B"))

    def strings(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` strings: inputs and targets ``Int[Tensor, "count time"]``, padded with 0."""
        state, first = self._opened(count)
        targets, states = draw(state, self.length, generator)
        over = (states == START).long()
        lengths = torch.where(over.any(dim=1), over.argmax(dim=1) + 1, self.length)
        within = torch.arange(self.length) < lengths.unsqueeze(1)
        inputs = torch.cat((first.unsqueeze(1), targets[:, :-1]), dim=1)
        return Batch(inputs * within, targets * within, lengths)

    def stream(self, count: int, steps: int, generator: torch.Generator) -> Batch:
        """Draw `count` streams from the first symbol of a string on: inputs, targets ``Int[Tensor, "count steps"]``."""
        state, first = self._opened(count)
        targets, _ = draw(state, steps, generator)
        return Batch(torch.cat((first.unsqueeze(1), targets[:, :-1]), dim=1), targets)

    def ngram_text(self) -> Batch:
        """What the n-gram model is fitted to: strings or streams as in training."""
        generator = self.generator("ngram")
        if self.continual:
            return self.stream(NGRAM_STRINGS * 12 // 1000, 1000, generator)
        return self.strings(NGRAM_STRINGS, generator)

    def train_batch(self, step: int) -> Batch:
        """Fresh strings, or where streams go on."""
        if not self.continual:
            return self.strings(self.protocol.batch_size, self.generator("train", self.data_seed, step))
        begins = self._begins
        if begins is None or begins[0] > step:
            begins = (0, *self._opened(self.protocol.batch_size))
        while True:
            at, state, last = begins
            targets, states = draw(state, self.length, self.generator("train", self.data_seed, at))
            if at == step:
                return Batch(torch.cat((last.unsqueeze(1), targets[:, :-1]), dim=1), targets)
            self._begins = begins = (at + 1, states[:, -1], targets[:, -1])

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of strings or streams."""
        if not self.continual:
            return self.strings(self.evaluation_size, self.generator(name))
        times = 10 if name == "test@10x" else 1
        return self.stream(max(1, self.evaluation_size // times), times * self.length, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time symbol"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats: of each row the sum over its steps, over those that a row has on average."""
        return summed_cross_entropy(prediction, batch, self._steps_a_row)

    @cached_property
    def _steps_a_row(self) -> float:
        """Symbols of a row in training, as expected."""
        return self.length if self.continual else visits(self.length, continual=False).sum().item()

    def metrics(self) -> MetricCollection:
        """Bits a symbol; strings with the repeated symbol right; rows with all sets of next symbols right; accuracy."""
        return MetricCollection(
            {
                "bits": BitsPerSymbol(),
                "repeat_accuracy": RepeatedSymbol(),
                "legal_accuracy": LegalSets(),
                "accuracy": Accuracy(),
            },
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time symbol"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Of each row its bits, as a share of the mean row's symbols; or whether all of its sets are right."""
        if metric == "legal_accuracy":
            return legal(prediction, batch).float()
        if metric != "bits":
            return None
        whole = self.evaluation_set("test")
        steps = self.length if whole.lengths is None else whole.lengths.double().mean().item()
        costs = -prediction.double().log_softmax(-1).gather(2, batch.targets.unsqueeze(2)).squeeze(2) / math.log(2)
        if batch.lengths is not None:
            beyond = torch.arange(costs.shape[1], device=costs.device) >= batch.lengths.unsqueeze(1)
            costs = costs.masked_fill(beyond, 0.0)
        return costs.sum(dim=1) / steps

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time symbol"]:
        """Log chances of every next symbol of the test rows.

        ``optimal``: those of the grammar. ``forgetful``: of one who knows all of a string but its second symbol, so
        that T and P are alike where it comes again. ``ngram``: counts of what comes after up to 12 symbols
        (`ngram_chances`), in `NGRAM_STRINGS` strings or as many symbols of streams.
        """
        inputs = self.evaluation_set("test").inputs
        if name == "ngram":
            text = self.ngram_text()
            counted = counted_steps(text)
            every = torch.ones_like(text.inputs, dtype=torch.bool) if counted is None else counted
            return ngram_chances(text.inputs, text.targets, every, inputs).float().log()
        if name not in {"optimal", "forgetful"}:
            raise UserError(f"task 'reber' has no baseline '{name}'; it has optimal, forgetful, ngram")
        chances = CHANCES.clone()
        if name == "forgetful":
            chances[[*REPEATING]] = CHANCES[[*REPEATING]].mean(dim=0)
        return chances[follow(inputs)].log()

    def baseline(self, name: str) -> dict[str, float]:
        """What a baseline's answers to the test rows score."""
        metrics = self.metrics()
        update_metrics(metrics, self.baseline_answer(name), self.evaluation_set("test"))
        return {metric: value.item() for metric, value in metrics.compute().items()}

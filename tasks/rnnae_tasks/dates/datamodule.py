"""The dates task's data, loss, metrics and baselines."""

from collections.abc import Iterable
from datetime import date
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy, update_metrics
from rnnae_tasks.dates.writing import FIRST, LAST, LONGEST, WAYS, read

READ = " ,./0123456789abcdefghijklmnopqrstuvwxyz"
"""What a date is written with; the symbols of the inputs, by place."""
WRITTEN = "0123456789-"
"""The symbols of the outputs."""
OUTPUT = len("2049-12-31")
REMEMBERED = 10_000
"""Training examples that the nearest one is sought among."""


class DatesTask(Task):
    """Read a date as people write it, character by character, and write it in ISO 8601.

    One row::

        input    wednesday 3 march 1954
        target   1954-03-03

    Dates lie in the years 1950 to 2049 and are written in one of twelve ways, lower case, none of which can mean two
    dates. The days of validation and test are in no training row. In training the decoder may be fed with the target;
    at evaluation the model writes by itself.

    Args:
        evaluation_size: Days in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training rows.
    """

    name = "dates"

    def __init__(
        self,
        evaluation_size: int = 2000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(evaluation_size=evaluation_size)
        days = LAST - FIRST + 1
        if 4 * evaluation_size > days:
            raise UserError(
                f"evaluation_size is {evaluation_size}; it must be at most {days // 4}, a quarter of the days there are"
            )
        super().__init__(protocol, data_seed)
        order = FIRST + torch.randperm(days, generator=self.generator("days"))
        self.days: dict[str, Int64[Tensor, " day"]] = {
            "test": order[:evaluation_size],
            "validation": order[evaluation_size : 2 * evaluation_size],
            "train": order[2 * evaluation_size :],
        }
        """The days of each part, as ordinals."""
        self._evaluation_sets: dict[str, Batch] = {}

    @property
    def input_names(self) -> str:
        """The characters that are read."""
        return READ

    @property
    def output_names(self) -> str:
        """The characters that are written."""
        return WRITTEN

    @property
    def spec(self) -> TaskSpec:
        """Characters in; ten characters out, after all were read."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=len(READ), length=LONGEST),
            outputs=Classes(len(WRITTEN)),
            predicts="own length",
            causal=False,
            variable_length=True,
            output_length=OUTPUT,
        )

    def written(self, part: str, rows: int, generator: torch.Generator) -> list[tuple[date, str]]:
        """Draw days of a part and ways to write them: each with what was written."""
        days = self.days[part]
        chosen = days[torch.randint(len(days), (rows,), generator=generator)].tolist()
        return self._in_some_way(chosen, generator)

    def _in_some_way(self, days: list[int], generator: torch.Generator) -> list[tuple[date, str]]:
        ways = [*WAYS.values()]
        drawn = torch.randint(len(ways), (len(days),), generator=generator).tolist()
        dates = map(date.fromordinal, days)
        return [(day, ways[way](day)) for day, way in zip(dates, drawn, strict=True)]

    def train_batch(self, step: int) -> Batch:
        """Training days, and ways to write them, drawn afresh at every step."""
        generator = self.generator("train", self.data_seed, step)
        return batch_of(self.written("train", self.protocol.batch_size, generator))

    def evaluation_set(self, name: str) -> Batch:
        """Each day of a part once, in one way that was drawn once."""
        if name not in self._evaluation_sets:
            self._evaluation_sets[name] = batch_of(self._evaluated(name))
        return self._evaluation_sets[name]

    def _evaluated(self, name: str) -> list[tuple[date, str]]:
        return self._in_some_way(self.days[name].tolist(), self.generator(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over the ten characters."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Share of dates that are right as a whole; share of characters; cross-entropy of these."""
        return MetricCollection(
            {"exact": Accuracy(whole=True), "character_accuracy": Accuracy(), "loss": CrossEntropy()},
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each date is right, or the share of its characters that are."""
        right = prediction.argmax(-1) == batch.targets
        if metric == "exact":
            return right.all(1).float()
        return right.float().mean(1) if metric == "character_accuracy" else None

    @cached_property
    def _remembered(self) -> list[tuple[date, str]]:
        """The first examples of training under data seed 0."""
        return self.written("train", REMEMBERED, self.generator("remembered"))

    def _nearest(self) -> list[date]:
        """Of each test row the date of the training example with the most alike character n-grams."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        examples, rows = self._remembered, self._evaluated("test")
        grams = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, token_pattern=None)
        known = grams.fit_transform([text for _, text in examples])
        asked = grams.transform([text for _, text in rows])
        blocks = [asked[start : start + 500] @ known.T for start in range(0, len(rows), 500)]
        return [examples[place][0] for block in blocks for place in np.asarray(block.argmax(axis=1)).ravel()]

    def baseline_answer(self, name: str) -> Float[Tensor, "row time class"]:
        """Logits of the answers, 0 for the character and -20 for every other one.

        ``frequent``: the most frequent character of each place in the training days. ``nearest``: the answer to the
        training example that is most alike. ``parser``: what a parser reads that knows the twelve ways.
        """
        rows = len(self.days["test"])
        if name == "frequent":
            counts = torch.nn.functional.one_hot(_targets(map(date.fromordinal, self.days["train"].tolist()))).sum(0)
            answer = counts.argmax(-1).expand(rows, -1)
        elif name == "nearest":
            answer = _targets(self._nearest())
        elif name == "parser":
            answer = _targets(read(text) for _, text in self._evaluated("test"))
        else:
            raise UserError(f"task 'dates' has no baseline '{name}'; it has frequent, nearest, parser")
        return 20.0 * torch.nn.functional.one_hot(answer, len(WRITTEN)) - 20.0

    def baseline(self, name: str) -> dict[str, float]:
        """How many of the test rows a baseline has right."""
        metrics = self.metrics()
        update_metrics(metrics, self.baseline_answer(name), self.evaluation_set("test"))
        found = {metric: value.item() for metric, value in metrics.compute().items()}
        del found["loss"]
        return found


_PLACE = np.zeros(128, dtype=np.int64)
"""The place of each character of `READ`, by its code."""
_PLACE[np.frombuffer(READ.encode(), dtype=np.uint8)] = np.arange(len(READ))


def batch_of(rows: list[tuple[date, str]]) -> Batch:
    """Dates and what was written of them as a batch: inputs ``Int64[Tensor, "row time"]``, padded to the longest."""
    lengths = torch.tensor([len(text) for _, text in rows])
    padded = "".join(text.ljust(LONGEST) for _, text in rows).encode()
    places = torch.from_numpy(_PLACE[np.frombuffer(padded, dtype=np.uint8)].reshape(len(rows), LONGEST))
    # A blank is the first symbol, so that padding is 0.
    targets = _targets(day for day, _ in rows)
    return Batch(places, targets, lengths, target_lengths=torch.full((len(rows),), OUTPUT))


def _targets(days: Iterable[date]) -> Int64[Tensor, "row time"]:
    """The characters of dates in ISO 8601, by their places in `WRITTEN`."""
    codes = np.frombuffer("".join(day.isoformat() for day in days).encode(), dtype=np.uint8).astype(np.int64)
    return torch.from_numpy(np.where(codes == ord("-"), len(WRITTEN) - 1, codes - ord("0")).reshape(-1, OUTPUT))

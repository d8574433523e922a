"""The names task's data, loss, metrics and baselines."""

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Split, Task
from rnnae_bench.errors import UserError, require_choice
from rnnae_bench.metrics import BalancedCrossEntropy
from rnnae_tasks.names.surnames import ALPHABET, embedded, unambiguous
from rnnae_tasks.names.tutorial import tutorial
from rnnae_tasks.names.witten_bell import WittenBell

Part = Literal["train", "validation", "test"]


class NamesTask(Task):
    """Read a surname letter by letter, say its language.

    Two rows (``.`` padding, which is token 0 as ``a`` is: the lengths alone tell them apart)::

        input    o ' r e i l l y    length 8   target  Irish
                 r o s s i . . .    length 5           Italian

    Every string stands in one language, and in one of training, validation and test part: of each language, 20%
    of the names for test, 10% for validation, those whose SHA-256 are least. Every name is read once an epoch; as
    the score weighs languages equally, so does the loss.

    Args:
        source: The lists that come with the package, or those of the PyTorch tutorial on character-level RNNs.
        folder: Where the tutorial's 18 files lie; without it they are downloaded once, into the user's cache.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training names.
    """

    name = "names"

    def __init__(
        self,
        source: Literal["embedded", "tutorial"] = "embedded",
        folder: str | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(("embedded", "tutorial"), source=source)
        if folder is not None and source == "embedded":
            raise UserError(f"folder is {folder!r} with source 'embedded', which reads none; set source to tutorial")
        super().__init__(protocol, data_seed)
        lists = embedded() if source == "embedded" else unambiguous(tutorial(Path(folder) if folder else None))
        self.languages: list[str] = list(lists)
        """The classes, in the order of their index."""
        self._names: dict[Part, list[list[str]]] = {"train": [], "validation": [], "test": []}
        for names in lists.values():
            order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
            test = round(0.2 * len(order))
            train = test + round(0.1 * len(order))
            self._names["test"].append(order[:test])
            self._names["validation"].append(order[test:train])
            self._names["train"].append(order[train:])
        self._length = max(len(name) for names in lists.values() for name in names)
        self._batches: dict[str, Batch] = {part: self._encoded(part) for part in self._names}
        counts = torch.tensor([len(names) for names in self._names["train"]])
        self._weights = counts.sum() / (len(counts) * counts)

    def names(self, part: Part) -> list[tuple[str, str]]:
        """All (name, language) pairs of a part, in the order of its rows."""
        return [(name, self.languages[k]) for k, names in enumerate(self._names[part]) for name in names]

    def _encoded(self, part: Part) -> Batch:
        pairs = self.names(part)
        inputs = torch.zeros(len(pairs), self._length, dtype=torch.long)
        for row, (name, _) in enumerate(pairs):
            inputs[row, : len(name)] = torch.tensor([ALPHABET.index(symbol) for symbol in name])
        index = {language: k for k, language in enumerate(self.languages)}
        targets = torch.tensor([index[language] for _, language in pairs])
        return Batch(inputs, targets, torch.tensor([len(name) for name, _ in pairs]))

    @property
    def input_names(self) -> str:
        """The letters."""
        return ALPHABET

    @property
    def output_names(self) -> list[str]:
        """The languages."""
        return self.languages

    @property
    def spec(self) -> TaskSpec:
        """Letters in, of names that differ in length; a language out."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=len(ALPHABET), length=self._length),
            outputs=Classes(len(self.languages)),
            predicts="last step",
            causal=False,
            variable_length=True,
        )

    def train_batch(self, step: int) -> Batch:
        """Names in random order, every one once an epoch, padded to the longest of the batch."""
        train = self._batches["train"]
        batch = train.rows(self.shuffled(step, len(train.targets)))
        assert batch.lengths is not None
        return batch._replace(inputs=batch.inputs[:, : int(batch.lengths.max())])

    def evaluation_set(self, name: str) -> Batch:
        """All names of the part: inputs ``Int[Tensor, "names time"]``, targets ``Int[Tensor, "names"]``, lengths."""
        return self._batches[name]

    def loss(self, prediction: Float[Tensor, "batch class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, each name weighted so that in an epoch all languages weigh alike.

        The weight is names / (languages * names of its language), which is 1 on average over the training part.
        """
        losses = cross_entropy(prediction, batch.targets, reduction="none")
        return (losses * self._weights.to(losses.device)[batch.targets]).mean()

    def metrics(self) -> MetricCollection:
        """Balanced accuracy (the mean of the languages' recalls), accuracy, and cross-entropy averaged likewise."""
        count = len(self.languages)
        return MetricCollection(
            {
                "balanced_accuracy": MulticlassAccuracy(count, average="macro"),
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "loss": BalancedCrossEntropy(count),
            },
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each test name is classified rightly; weighed by names / (languages * names of its language)."""
        right = (prediction.argmax(1) == batch.targets).float()
        if metric == "accuracy":
            return right
        counts = self._batches["test"].targets.bincount(minlength=len(self.languages)).to(right.device)
        weights = counts.sum() / (len(counts) * counts)
        return right * weights[batch.targets] if metric == "balanced_accuracy" else None

    def baseline(self, name: str) -> dict[str, float]:
        """What needs no training by gradient through letters, on the test names.

        ``majority``: equal chances, the commonest language when pressed. ``ngram``: `ngram_logits`. ``witten_bell``:
        `witten_bell_logits`. ``combined``: `combined_logits`.
        """
        if name == "majority":
            counts = self._batches["test"].targets.bincount()
            return {
                "balanced_accuracy": 1 / len(counts),
                "accuracy": (counts.max() / counts.sum()).item(),
                "loss": math.log(len(counts)),
            }
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self._batches["test"].targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}

    def baseline_answer(self, name: str) -> Float[Tensor, "names class"] | None:
        """A baseline's logits of the test names; none of ``majority``, which draws lots."""
        fitted = {
            "ngram": self.ngram_logits,
            "witten_bell": self.witten_bell_logits,
            "combined": self.combined_logits,
        }
        if name == "majority":
            return None
        if name not in fitted:
            raise UserError(f"task 'names' has no baseline '{name}'; it has majority, {', '.join(fitted)}")
        return fitted[name]()

    @cached_property
    def _regression(self) -> Any:
        """Logistic regression on character n-grams, fitted on the training part.

        Its features are the tf-idf weights (with logarithmic counts) of runs of 1 to 3 symbols that stay within a
        word and its two borders. Languages weigh equally in the fit. C did best on the validation part of the embedded
        lists.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        classifier = make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True),
            LogisticRegression(C=3.0, class_weight="balanced", solver="newton-cg"),
        )
        return classifier.fit([name for name, _ in self.names("train")], self._batches["train"].targets.numpy())

    def ngram_logits(self, split: Split = "test") -> Float[Tensor, "names class"]:
        """Log-probabilities of the languages by a logistic regression on runs of 1 to 3 letters."""
        return torch.from_numpy(self._regression.predict_log_proba([name for name, _ in self.names(split)])).float()

    def witten_bell_logits(self, split: Split = "test") -> Float[Tensor, "names class"]:
        """Log-probabilities of the languages, equally likely before, by a `WittenBell` 4-gram of each."""
        model = WittenBell(self._names["train"], symbols=len(ALPHABET) + 1)
        logits = torch.from_numpy(model.log_probabilities([name for name, _ in self.names(split)]))
        return logits.log_softmax(dim=1).float()

    def combined_logits(self, split: Split = "test", weight: float = 0.25) -> Float[Tensor, "names class"]:
        """`ngram_logits` and, at a weight, `witten_bell_logits`, added up.

        Args:
            split: The part whose names are classified.
            weight: The default did best of 1/4, 1/2 and 1 on the validation part of the embedded lists.
        """
        return (self.ngram_logits(split) + weight * self.witten_bell_logits(split)).log_softmax(dim=1)

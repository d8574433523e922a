"""The tagging task's data, loss, metrics and baselines."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, counted_steps, cross_entropy, update_metrics
from rnnae_tasks.tagging.casino import FACES, Casino, Posterior


class TaggingTask(Task):
    """Say at each roll whether the fair die was thrown or the loaded one.

    One row, drawn with 24 rolls (``.`` the fair die, ``L`` the loaded one, which shows a six half of the time)::

        input    3 1 3 2 1 6 5 1 5 6 4 4 3 6 5 3 6 6 6 4 5 5 5 6
        target   . . . . . . . L L L L L L L L L L L . . . . . .

    Inputs are the faces less one, 0 to 5; targets are 0 for the fair die and 1 for the loaded one. A casino keeps its
    die for a while: the rolls before a step tell something of its die, and so do the rolls after it, which a
    bidirectional model may read. Training sequences are drawn afresh at every step.

    Args:
        load: Probability that the fair die is exchanged for the loaded one after a roll.
        unload: Probability that the loaded die is exchanged for the fair one after a roll.
        six: Probability of a six with the loaded die; its other faces share the rest.
        min_length: Rolls of the shortest sequence.
        max_length: Rolls of the longest sequence.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "tagging"

    def __init__(
        self,
        load: float = 0.05,
        unload: float = 0.1,
        six: float = 0.5,
        min_length: int = 20,
        max_length: int = 60,
        evaluation_size: int = 2000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(
            load=load, unload=unload, min_length=min_length, max_length=max_length, evaluation_size=evaluation_size
        )
        if not load + unload <= 1:
            raise UserError(f"load is {load} and unload {unload}; together they may be 1 at most, or no die is kept")
        if not 0 <= six <= 1:
            raise UserError(f"six is {six}; a probability lies from 0 to 1")
        if max_length < min_length:
            raise UserError(f"max_length is {max_length}; it must be at least min_length, {min_length}")
        super().__init__(protocol, data_seed)
        self.casino = Casino(load, unload, six)
        self.min_length, self.max_length, self.evaluation_size = min_length, max_length, evaluation_size
        self._evaluation_sets: dict[str, Batch] = {}

    @property
    def input_names(self) -> str:
        """The faces of a die."""
        return "123456"

    @property
    def output_names(self) -> str:
        """The fair die and the loaded one."""
        return ".L"

    @property
    def spec(self) -> TaskSpec:
        """Faces in; one of two dice out at every step; all rolls may be seen before any is answered."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=FACES, length=self.max_length),
            outputs=Classes(2),
            predicts="every step",
            causal=False,
            variable_length=True,
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences, of all lengths alike; inputs and targets ``Int[Tensor, "count time"]``."""
        lengths = torch.randint(self.min_length, self.max_length + 1, (count,), generator=generator)
        faces, dice = self.casino.roll(count, self.max_length, generator)
        known = torch.arange(self.max_length) < lengths.unsqueeze(1)
        return Batch(faces * known, dice * known, lengths)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        if name not in self._evaluation_sets:
            self._evaluation_sets[name] = self.sequences(self.evaluation_size, self.generator(name))
        return self._evaluation_sets[name]

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats: of each row the mean over its steps, and of these the mean over rows."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Accuracy and cross-entropy over all steps of all rows."""
        return MetricCollection({"accuracy": Accuracy(), "loss": CrossEntropy()}, compute_groups=False)

    @cached_property
    def _steps_a_row(self) -> float:
        """Steps of the test set, in the mean over its rows."""
        lengths = self.evaluation_set("test").lengths
        assert lengths is not None
        return lengths.double().mean().item()

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Each row's part in the accuracy: its right steps, over the steps that a row has in the mean."""
        if metric != "accuracy":
            return None
        counted = counted_steps(batch)
        assert counted is not None
        right = (prediction.argmax(-1) == batch.targets) & counted
        return right.sum(1).double() / self._steps_a_row

    @cached_property
    def posterior(self) -> Posterior:
        """What the rolls of the test set tell of their dice."""
        batch = self.evaluation_set("test")
        assert batch.lengths is not None
        return self.casino.posterior(batch.inputs, batch.lengths)

    def baseline_answer(self, name: str) -> Float[Tensor, "row time class"]:
        """Logarithms of the probabilities of the dice for one who knows the casino.

        ``majority``: without a look at the rolls. ``memoryless``: by the roll of the step alone. ``filtering``: by all
        rolls so far. ``smoothing``: by all rolls of the row.
        """
        if name == "majority":
            chance = self.casino.share.expand_as(self.posterior.memoryless)
        else:
            known = {"memoryless": "memoryless", "filtering": "filtered", "smoothing": "smoothed"}
            if name not in known:
                raise UserError(f"task 'tagging' has no baseline '{name}'; it has majority, {', '.join(known)}")
            chance = getattr(self.posterior, known[name])
        return chance.log()

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline tells the dice of the test set."""
        metrics = self.metrics()
        update_metrics(metrics, self.baseline_answer(name), self.evaluation_set("test"))
        return {metric: value.item() for metric, value in metrics.compute().items()}

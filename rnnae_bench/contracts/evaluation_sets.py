"""The fixed sets that models are scored on: which there are, their rows, and whether they stay what they are."""

import re
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.fingerprint import Fingerprint
from rnnae_bench.errors import UserError

_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.-]*")


class EvaluationSets:
    """What of a task is about its evaluation sets: named, fixed, given whole or batch by batch."""

    protocol: Protocol

    def __init__(self) -> None:
        super().__init__()
        base, own = EvaluationSets, type(self)
        if all(getattr(own, name) is getattr(base, name) for name in ("evaluation_set", "evaluation_batches")):
            raise TypeError(f"{own.__name__} must define evaluation_set(name), or evaluation_batches(name)")
        self._prints: dict[str, str] = {}

    evaluation_sets: tuple[str, ...] = ("validation", "test")
    """The sets on which models are scored: ``validation`` while training, ``test`` and any others once after it.

    What ranks is measured on ``test``. Others stand beside it in the record, each under its name, and may differ from
    it in length: ``("validation", "test", "test@16x")``, say.
    """

    reference: str | None = None
    """The set that a trained model answers before the test, for `calibration`: ``validation``, or one that is not
    scored. None: nothing is calibrated."""

    predicts_rows: bool = True
    """Whether `predict` answers every row by itself. Where it needs a whole set, that comes in one batch."""

    def evaluation_set(self, name: str) -> Batch:
        """All rows of one of the `evaluation_sets` or of the `reference`, on the CPU; the same for every data seed.

        A task whose sets are too large for the memory gives `evaluation_batches` in its place.
        """
        batches = [*self.evaluation_batches(name)]
        fields = zip(*batches, strict=True)
        return Batch(*(None if field[0] is None else torch.cat(field) for field in fields))  # type: ignore[arg-type]

    def evaluation_batches(self, name: str) -> Iterator[Batch]:
        """The rows of a set in order, ``protocol.evaluation_batch_size`` at a time.

        A task that overrides this streams its sets: a set is read anew at every look and never held whole. It then best
        tells a `checksum` too, or reads all of it once more for the fingerprint.
        """
        whole = self.evaluation_set(name)
        rows = len(whole.targets)
        size = self.protocol.evaluation_batch_size if self.predicts_rows else rows
        for start in range(0, rows, size):
            yield whole.rows(slice(start, start + size))

    def scored_rows(self, name: str) -> Bool[Tensor, " rows"] | None:
        """Which rows of an evaluation set are scored, where some serve another end: to teach a probe, say.

        Rows that are not scored may be rows of the training.

        Returns:
            None where all are.
        """
        return None

    def checksum(self, name: str) -> str | None:
        """What tells this content of an evaluation set from any other: of the file that it is read from, say.

        Returns:
            None where the rows themselves are to be hashed.
        """
        return None

    @property
    def streams(self) -> bool:
        """Whether evaluation sets are read batch by batch."""
        return type(self).evaluation_batches is not EvaluationSets.evaluation_batches

    @property
    def all_sets(self) -> tuple[str, ...]:
        """The evaluation sets, and the reference where it is none of them.

        Raises:
            UserError: they are not named as they must be.
        """
        names, reference, who = self.evaluation_sets, self.reference, type(self).__name__
        if names[:2] != ("validation", "test") or len({*names}) < len(names):
            raise UserError(f"{who}.evaluation_sets are {names}; begin with 'validation', 'test', and give each once")
        if reference in names[1:]:
            raise UserError(
                f"{who}.reference is '{reference}', which is scored; a model may be calibrated on the validation set "
                "or on one that is not among evaluation_sets"
            )
        every = names if reference in {None, "validation"} else (*names, str(reference))
        for name in every:
            if name == "train" or not _SET_NAME.fullmatch(name):
                raise UserError(f"{who} names an evaluation set {name!r}; use letters, digits and @ _ . -, not 'train'")
        return every

    def samples(self) -> Sequence[int]:
        """Which rows of the test set are kept beside the record, with what the model made of them.

        By default eight, evenly spread since it may be sorted; of a set that is streamed, the first eight.
        """
        size = 8 if self.streams else len(self.evaluation_set("test").targets)
        return [row * size // min(8, size) for row in range(min(8, size))]

    def held_out(self, rows: int) -> Batch:
        """Some rows of the validation set, evenly spread since it may be sorted: a batch that is not trained on.

        Of a set that is streamed, rows of its first batch.

        Its targets must have the form that `loss` knows from training. A task whose evaluation asks for something else
        overrides this.

        Args:
            rows: How many; all where there are fewer.
        """
        whole = next(iter(self.evaluation_batches("validation"))) if self.streams else self.evaluation_set("validation")
        size = len(whole.targets)
        count = min(rows, size)
        return whole.rows(torch.arange(count) * size // count)

    def set_fingerprints(self) -> dict[str, str]:
        """A hash of every one of `all_sets`.

        Raises:
            UserError: a set is not the same when it is asked for again.
        """
        self._prints = {name: self._set_print(name) for name in self.all_sets}
        if not self.streams:
            for name in self.all_sets:
                if self.evaluation_set(name) is not self.evaluation_set(name):
                    self.require_unchanged(name, self._set_print(name))
        return self._prints

    def _set_print(self, name: str) -> str:
        found, declared = Fingerprint(), self.checksum(name)
        if declared is not None:
            found.add(declared)
        elif self.streams:
            for batch in self.evaluation_batches(name):
                found.add(batch)
        else:
            found.add(self.evaluation_set(name))
        return str(found)

    def require_unchanged(self, name: str, found: str) -> None:
        """Raise where an evaluation set that was found to have this hash is not the one of the fingerprint."""
        if self._prints.get(name, found) != found:
            method = "evaluation_batches" if self.streams else "evaluation_set"
            raise UserError(
                f"{type(self).__name__}.{method}('{name}') gives other rows than before; it must be the same at "
                "every call: draw from self.generator(...) alone, and change no row in place"
            )

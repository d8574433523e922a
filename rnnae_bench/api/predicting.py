"""What a trained model answers to an evaluation set of its task."""

from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnnae_bench.api.results import Result
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.probes.answers import Answers, continuation
from rnnae_bench.probes.whole_set import WholeSet
from rnnae_bench.records.files import write_atomically
from rnnae_bench.records.record import Record
from rnnae_bench.report.heatmaps import as_png
from rnnae_bench.report.samples import picture
from rnnae_bench.report.trial_picture import title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Predictions(Mapping[str, np.ndarray]):
    """Arrays by name, as `rnnae_bench.records.samples` describes them: ``rows``, ``inputs``, ``prediction``, ...

    Args:
        record: Of the trial whose model answered.
        on: The evaluation set.
        arrays: What was asked and answered.
    """

    def __init__(self, record: Record, on: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.record, self.on, self._arrays = record, on, dict(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def title(self) -> str:
        """The trial and the set."""
        return f"{title(self.record)}: {self.on}"

    def plot(self) -> "Figure | None":
        """The first rows drawn, and what there is of the whole set; None where there is nothing to draw."""
        return picture.figure(self, self.title)

    def text(self) -> str:
        """The first rows as text, where they are symbols; else empty."""
        return picture.text(self)

    def save(self, path: str | Path) -> Path:
        """Write all arrays to a file of NumPy's (``.npz``).

        Raises:
            UserError: it can't be written.
        """
        buffer = BytesIO()
        np.savez_compressed(buffer, **self._arrays)  # type: ignore[arg-type]
        return _written(Path(path), buffer.getvalue())

    def save_picture(self, path: str | Path) -> Path | None:
        """Write the picture as a PNG; None where there is nothing to draw.

        Raises:
            UserError: it can't be written.
        """
        drawn = self.plot()
        return None if drawn is None else _written(Path(path), as_png(drawn))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.items())
        return f"<{self.title}, {len(self['rows'])} rows: {shapes}>"


def predicted(result: Result, on: str = "test", rows: int | None = None) -> Predictions:
    """As `Result.predict`."""
    if rows is not None:
        require_positive(rows=rows)
    record, model, task = result.record, result.model, result.task
    if on not in task.evaluation_sets:
        raise UserError(f"{task.name} has no evaluation set '{on}'; it has {', '.join(task.evaluation_sets)}")
    size = _size(task, on)
    count = min(size, rows or size)
    answers, whole = Answers(task, [place * size // count for place in range(count)]), WholeSet(task, on)
    with torch.inference_mode(), torch.random.fork_rng([]):
        for batch in task.evaluation_batches(on):
            fitting = batch.map(partial(_fitting, next(model.parameters(), None)))
            prediction = task.predict(model, fitting).float()
            answers.add(model, fitting, prediction)
            whole.add(model, fitting, prediction)
        arrays = answers.arrays()
        going_on = continuation(model, task, arrays)
    measures = {name.removeprefix("calibration/"): value for name, value in record.measures.by_name.items()}
    arrays |= whole.arrays({name: value for name, value in measures.items() if isinstance(value, int | float)})
    return Predictions(record, on, arrays if going_on is None else {**arrays, "continuation": going_on})


def _size(task: Task, on: str) -> int:
    if task.streams:
        return sum(len(batch.targets) for batch in task.evaluation_batches(on))
    return len(task.evaluation_set(on).targets)


def _fitting(weight: Tensor | None, field: Tensor) -> Tensor:
    """A field of a batch, real numbers in the format of the model's weights."""
    format = weight.dtype.to_real() if weight is not None else torch.float32
    return field.to(format) if field.is_floating_point() else field


def _written(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from error
    return path

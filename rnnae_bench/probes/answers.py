"""A model's answers to some rows of an evaluation set, beside what was asked."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rnnae_bench.contracts.rollout import rollout
from rnnae_bench.contracts.spec import Classes, Images, Tokens
from rnnae_bench.contracts.task import Batch, Task

CONTINUATION = 200
"""Symbols that a model goes on with, at most; it is also no more than five times what it read in training."""

_CONTINUED = 4
"""Rows that it goes on from, at most; the others' continuations are empty."""


class Answers:
    """Gathers inputs, targets and prediction of some rows, as the batches of their set go by.

    Args:
        task: Whose set it is.
        rows: Their numbers in the set.
    """

    def __init__(self, task: Task, rows: Sequence[int]) -> None:
        self._task, self._rows = task, sorted(rows)
        self._seen = 0
        self._kept: list[dict[str, Tensor]] = []

    def add(self, model: Callable[..., Tensor], batch: Batch, prediction: Tensor) -> None:
        """Keep those rows that are in a batch.

        Args:
            model: Which answers; it is asked again where the task makes its answer of what the model gives.
            batch: The next one of the set.
            prediction: What `Task.predict` gave for it.
        """
        first, self._seen = self._seen, self._seen + len(batch.targets)
        mine = [row - first for row in self._rows if first <= row < self._seen]
        if not mine:
            return
        index = torch.tensor(mine, device=batch.targets.device)
        rows = batch.rows(index)
        fields = {name: one for name, one in rows._asdict().items() if one is not None}
        kept = {"rows": index + first, **fields, "prediction": prediction[index].float()}
        if self._gives_back and prediction.shape[1:] != batch.inputs.shape[1:]:
            kept["output"] = model(rows.inputs, rows.lengths).float()
        if self._task.spec.predicts != "last step" and prediction.dim() == 3:
            kept["mask"] = rows.scored(self._task.spec)
        self._kept.append({name: one.detach().cpu() for name, one in kept.items()})

    @property
    def _gives_back(self) -> bool:
        """Whether the model gives its input back, be the task's answer its error or its code."""
        spec = self._task.spec
        return isinstance(spec.outputs, Images) or spec.reconstructs

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows so far, by name as `rnnae_bench.records.samples` has it; empty where there are none."""
        if not self._kept:
            return {}
        found = {name: torch.cat([part[name] for part in self._kept]).numpy() for name in self._kept[0]}
        names = {"names/inputs": self._task.input_names, "names/outputs": self._task.output_names}
        return {**found, **{name: np.array(list(one)) for name, one in names.items() if one is not None}}


def continuation(model: Callable[..., Tensor], task: Task, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    """Symbols with which a model goes on after each of some rows, each drawn as likely as it holds it.

    Args:
        model: In evaluation mode.
        task: What it was trained on.
        arrays: The rows, as from `Answers.arrays`.

    Returns:
        ``[row step]``, -1 in rows that it does not go on from; None where the task is not to predict the next symbol.
    """
    inputs, targets = arrays["inputs"], arrays["targets"]
    if not _is_next_symbol(task, inputs, targets) or "lengths" in arrays:
        return None
    read = task.held_out(1).inputs.shape[1]
    steps = min(CONTINUATION, max(20, 5 * read))
    found = np.full((len(inputs), steps), -1, dtype=np.int64)
    generator = task.generator("continuation")
    context = torch.from_numpy(inputs[:_CONTINUED, -read:])
    device = next((one.device for one in getattr(model, "parameters", list)()), torch.device("cpu"))

    answers: list[Tensor] = []

    def drawn(logits: Tensor) -> Tensor:
        chances = logits.float().softmax(-1).cpu()
        answers.append(torch.multinomial(chances, 1, generator=generator).squeeze(1))
        return answers[-1].to(device)

    rollout(model, context.to(device), steps, drawn)
    found[:_CONTINUED] = torch.stack(answers, dim=1).numpy()
    return found


def _is_next_symbol(task: Task, inputs: np.ndarray, targets: np.ndarray) -> bool:
    """Whether the answer at each step is the next step's input."""
    spec = task.spec
    if not (spec.causal and spec.predicts == "every step" and isinstance(spec.inputs, Tokens)):
        return False
    if spec.outputs != Classes(spec.inputs.vocabulary) or inputs.shape[1] < 2:
        return False
    return bool((targets[:, :-1] == inputs[:, 1:]).all())

"""How a model is asked in an exam: without a trace, in a given mode, with the same random numbers each time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.spec import Images, Static, TaskSpec
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.testing.forms import altered_inputs

TOLERANCE = 1e-4
"""Of the largest number: differences up to this are put down to rounding."""


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Within, a model is in training or in evaluation mode; nothing that it does lasts."""
    modes = {one: one.training for one in model.modules()}
    with evaluating(model):
        model.train(training)
        try:
            yield
        finally:
            for one, mode in modes.items():
                one.training = mode


def answer(model: nn.Module, spec: TaskSpec, batch: Batch, training: bool = False) -> Tensor:
    """A model's prediction of a batch, without gradients, under the same random numbers each time.

    In training mode, outputs of their own length are fed with the targets.
    """
    with in_mode(model, training), torch.no_grad():
        torch.manual_seed(0)
        if training:
            return training_prediction(model, batch, spec)
        prediction: Tensor = model(batch.inputs, batch.lengths)
        return prediction


def is_random(model: nn.Module, spec: TaskSpec, batch: Batch) -> bool:
    """Whether a model's prediction in training changes with the seed."""
    found = []
    for seed in (0, 1):
        with in_mode(model, True), torch.no_grad():
            torch.manual_seed(seed)
            found.append(training_prediction(model, batch, spec))
    return off(*found) > TOLERANCE


def off(one: Tensor, two: Tensor) -> float:
    """The largest difference of two predictions, as a share of the largest number in them; infinite where shapes differ
    or one is not finite."""
    if one.shape != two.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    size = max(float(one.abs().max()), float(two.abs().max()))
    difference = float((one - two).abs().max())
    if not difference < float("inf"):
        return float("inf")
    return difference / size if size else 0.0


def rows_repeated(batch: Batch, times: int) -> Batch:
    """The first rows of a batch over and over, so that there are so many, each read to the end of its steps."""
    rows = batch.rows(torch.arange(times) % len(batch.targets))
    return rows if rows.lengths is None else rows._replace(lengths=torch.full_like(rows.lengths, rows.inputs.shape[1]))


def steps_in(spec: TaskSpec, batch: Batch) -> int:
    """Steps of the inputs: of an image its rows, of inputs without time one."""
    if isinstance(spec.inputs, Images):
        return spec.inputs.height
    return 1 if isinstance(spec.inputs, Static) else batch.inputs.shape[1]


def altered_at(spec: TaskSpec, inputs: Tensor, where: Tensor) -> Tensor:
    """The inputs with other values at the chosen steps, those of an image its rows: ``Bool[Tensor, "batch time"]``."""
    if isinstance(spec.inputs, Images):
        return torch.where(where[:, None, :, None], (inputs + 0.5) % 1.0, inputs)
    if isinstance(spec.inputs, Static):
        return torch.where(where, inputs + 1, inputs)
    return altered_inputs(spec, inputs, where)

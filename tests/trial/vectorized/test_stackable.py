"""Models of somebody's own trained as one, through ``torch.func``: what each leaves alone, or a reason why not."""

import inspect
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench import Autoencoder, Optimization, SequenceModel, TaskSpec
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial, reason_apart

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

USUAL = Optimization()
PAGE = Path(__file__).parents[3] / "docs" / "your-own-cell.md"


def leaky() -> type[SequenceModel]:
    """The model that the documentation shows."""
    (text,) = re.findall(r"```python\n(import torch.*?class Leaky.*?)```", PAGE.read_text(), re.DOTALL)
    names = {"__name__": "leaky_of_the_page"}
    exec(text, names)
    return names["Leaky"]


class Squeeze(Autoencoder):
    """One hidden layer in, one out.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code.
        optimization: How to train.
    """

    def __init__(self, spec: TaskSpec, code_size: int = 4, optimization: Optimization = USUAL) -> None:
        super().__init__(spec, optimization)
        self.shape = (spec.inputs.channels, spec.inputs.height, spec.inputs.width)
        pixels = int(np.prod(self.shape))
        self.down = nn.Sequential(nn.Linear(pixels, 8), nn.Tanh(), nn.Linear(8, code_size))
        self.up = nn.Sequential(nn.Linear(code_size, 8), nn.Tanh(), nn.Linear(8, pixels), nn.Sigmoid())
        self.shift = nn.Parameter(torch.zeros(code_size))

    def encode(self, inputs):
        return self.down(inputs.flatten(1)) + self.shift

    def decode(self, code):
        return self.up(code).unflatten(1, self.shape)


PAIRS: dict[type, Pair] = {}


def trial(task: str, model_class: type, seed: int, rate: float = 0.01, precision: str = "64-true") -> Trial:
    if model_class not in PAIRS:
        pair = Pair(task, "gru" if "copy" in task else "dense_ae")
        pair.model_class = model_class
        names = set(inspect.signature(model_class).parameters)
        instantiate = pair._instantiate
        pair._instantiate = lambda part, given: {
            name: value for name, value in instantiate(part, given).items() if part != "model" or name in names
        }
        PAIRS[model_class] = pair
    pair = PAIRS[model_class]
    options = {
        "task": {"protocol": {"max_steps": 9, "evaluate_every": 3, "batch_size": 8}},
        "model": {"optimization": {"learning_rate": rate}},
        "trainer": {"accelerator": "cpu", "precision": precision},
    }
    return Trial(pair, pair.resolve(options), seed)


TIMES = {"training_seconds", "steps_per_second", "seconds_to_solved", "peak_memory_bytes"}


@pytest.mark.parametrize(
    ("task", "model_class", "precision"),
    [("copy:smoke", leaky(), "64-true"), ("denoise:smoke", Squeeze, "32-true")],
    ids=["leaky", "autoencoder"],
)
def test_three_as_one_leave_what_each_leaves_alone(task, model_class, precision, tmp_path):
    members = list(enumerate((0.03, 0.01, 0.003)))

    def trials() -> list[Trial]:
        return [trial(task, model_class, seed, rate, precision) for seed, rate in members]

    assert reason_apart(trials()[0]) is None
    tolerance = 1e-9 if precision == "64-true" else 1e-3
    together = VectorizedTrial(trials()).run(Store(tmp_path / "together"), ["x"])
    for found, own in zip(together, trials(), strict=True):
        alone = own.run(Store(tmp_path / "alone"), ["x"])
        assert found.record.status == alone.record.status == "ok", found.record.failure
        assert found.record.absent == alone.record.absent
        assert list(found.series) == list(alone.series)
        for name, series in alone.series.items():
            np.testing.assert_array_equal(found.series[name].steps, series.steps, err_msg=name)
            rounding = max(tolerance, 2e-6) if series.values.ndim == 2 else tolerance
            np.testing.assert_allclose(
                found.series[name].values, series.values, rtol=rounding, atol=rounding, err_msg=name
            )
        for name, value in alone.record.metrics["test"].items():
            assert found.record.metrics["test"][name] == pytest.approx(value, rel=max(tolerance, 1e-6)), name
        for name, value in alone.record.measures.by_name.items():
            # Where a profile is flat, its slope is rounding.
            if name not in TIMES and (precision == "64-true" or not name.endswith("time_constant")):
                wanted = pytest.approx(value, rel=max(tolerance, 1e-5), abs=1e-5) if isinstance(value, float) else value
                assert found.record.measures.by_name[name] == wanted, name
        assert found.record.environment.vectorized.members == 3


class Noisy(GRU):
    """Adds noise to its states."""

    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        return states + torch.randn_like(states)


class Drops(leaky()):
    """With dropout."""

    def states(self, inputs, lengths=None):
        return nn.functional.dropout(super().states(inputs, lengths), 0.5, self.training)


class Remembers(leaky()):
    """Goes on from its last state."""

    kept = 0.0

    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths) + self.kept
        self.kept = states.detach().mean()
        return states


class Fused(SequenceModel):
    """torch's own GRU, which ``torch.vmap`` can't take."""

    def __init__(self, spec: TaskSpec, hidden_size: int = 4, optimization: Optimization = USUAL) -> None:
        super().__init__(spec, hidden_size, optimization)
        self.gru = nn.GRU(self.embedding.features, hidden_size, batch_first=True)

    def states(self, inputs, lengths=None):
        return self.gru(inputs)[0]


class OwnLoss(leaky()):
    """Another loss."""

    def training_loss(self, batch):
        return 2 * super().training_loss(batch)


class Normalized(leaky()):
    """With running statistics."""

    def __init__(self, spec: TaskSpec, hidden_size: int = 4, optimization: Optimization = USUAL) -> None:
        super().__init__(spec, hidden_size, optimization=optimization)
        self.norm = nn.BatchNorm1d(hidden_size)


class Unused(leaky()):
    """With a weight that is not used."""

    def __init__(self, spec: TaskSpec, hidden_size: int = 4, optimization: Optimization = USUAL) -> None:
        super().__init__(spec, hidden_size, optimization=optimization)
        self.spare = nn.Parameter(torch.zeros(3))


class Complex(leaky()):
    """With a complex weight."""

    def __init__(self, spec: TaskSpec, hidden_size: int = 4, optimization: Optimization = USUAL) -> None:
        super().__init__(spec, hidden_size, optimization=optimization)
        self.turn = nn.Parameter(torch.ones(3, dtype=torch.complex64))


class Unwilling(leaky()):
    """Knows better."""

    def stackable(self):
        return "its author says so"


@pytest.mark.parametrize(
    ("model_class", "reason"),
    [
        (Noisy, "its prediction differs when it is asked again: from random numbers, or a state"),
        (Remembers, "its prediction differs when it is asked again: from random numbers, or a state"),
        (Drops, "its models can't be run as one (vmap: called random operation while in randomness error mode"),
        (Fused, "its models can't be run as one"),
        (OwnLoss, "it has a training_loss of its own"),
        (Normalized, "it has buffers, in which it may carry something from batch to batch"),
        (Unused, "the loss does not depend on its spare"),
        (Complex, "some of its weights are complex"),
        (Unwilling, "its author says so"),
    ],
)
def test_who_can_not_says_why(model_class, reason):
    found = reason_apart(trial("copy:smoke", model_class, 0))
    assert found is not None
    assert found.startswith(reason)

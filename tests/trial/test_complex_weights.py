"""A model with complex weights and a complex state, of somebody's own, beside the same one in pairs of real numbers."""

import importlib
import math
import re

import numpy as np
import pytest

from rnnae_bench import Growing
from rnnae_bench.cli import main
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.probes.examination import examine
from rnnae_bench.records.store import Store
from rnnae_bench.testing import check_model
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

MODELS = '''
import torch
from torch import nn

from rnnae_bench import Growing, Optimization, SequenceModel


class Diagonal(SequenceModel):
    """h_t = a h_(t-1) + B x_t, diagonal and complex (Orvieto et al. 2023); y_t is the real part of C h_t."""

    pairs = False

    def __init__(self, spec, optimization: Optimization = Optimization(clip=0.05)):
        super().__init__(spec, 4, optimization)
        inputs = self.embedding.features
        self.keep("decay", torch.polar(torch.full((5,), 0.9), torch.linspace(0.1, 3.0, 5)))
        self.keep("read", torch.complex(torch.randn(inputs, 5), torch.randn(inputs, 5)))
        self.keep("say", torch.complex(torch.randn(5, 4), torch.randn(5, 4)))

    def keep(self, name, weight):
        self.register_parameter(name, nn.Parameter(torch.view_as_real(weight).clone() if self.pairs else weight))

    def weight(self, name):
        weight = getattr(self, name)
        return torch.view_as_complex(weight) if self.pairs else weight

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 5, dtype=torch.complex64)

    def step(self, inputs, state):
        state = self.weight("decay") * state + inputs.to(state.dtype) @ self.weight("read")
        return (state @ self.weight("say")).real, state


class Pairs(Diagonal):
    pairs = True


class Half(Diagonal):
    @property
    def state_size(self):
        return 5


class Cache(SequenceModel):
    """Attends to all that was read."""

    def __init__(self, spec, optimization: Optimization = Optimization()):
        super().__init__(spec, 4, optimization)
        self.maps = nn.Linear(self.embedding.features, 12)

    @property
    def state_size(self):
        return Growing(per_step=8)

    def initial_state(self, batch_size):
        return {"keys": torch.zeros(batch_size, 0, 4), "values": torch.zeros(batch_size, 0, 4)}

    def step(self, inputs, state):
        query, key, value = self.maps(inputs).chunk(3, 1)
        keys, values = (
            torch.cat((state[name], new[:, None]), 1) for name, new in (("keys", key), ("values", value))
        )
        shares = (keys @ query[:, :, None]).softmax(1)
        return (shares * values).sum(1), {"keys": keys, "values": values}
'''


@pytest.fixture
def plugin(install):
    install(
        "complex-plugin",
        {"complex_plugin.py": MODELS},
        models={name.lower(): f"complex_plugin:{name}" for name in ("Diagonal", "Pairs", "Cache")},
    )
    return importlib.import_module("complex_plugin")


def run(name, folder, precision="32-true"):
    pair = Pair("copy:smoke", name)
    options = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "trainer": {"precision": precision}}
    outcome = Trial(pair, pair.resolve(options), 0).run(Store(folder), ["x"])
    assert outcome.record.status == "ok", outcome.record.failure
    assert outcome.record.absent == {}
    return outcome.record.measures.by_name, outcome.series


def test_complex_weights_are_measured_and_trained_as_pairs_of_real_ones(plugin, tmp_path):
    measures, series = run("diagonal", tmp_path / "complex")
    real, expected = run("pairs", tmp_path / "pairs", "64-true")
    assert measures["parameters"] == real["parameters"] == 2 * (5 + 5 * 10 + 20) + 4 * 9 + 9
    assert measures["state_size"] == 10
    assert "state_size_per_step" not in measures
    assert 0 < measures["clipped_fraction"] == real["clipped_fraction"]
    compared = [name for name in series if name.startswith(("loss", "gradient_norm", "gradient_flow", "input_sal"))]
    assert {"loss", "gradient_norm", "gradient_norm/decay", "gradient_norm_clipped"} < {*compared}
    assert "gradient_flow/last_step/l0/h" in compared
    for name in compared:
        np.testing.assert_allclose(series[name].values, expected[name].values, rtol=2e-4, atol=2e-5, err_msg=name)


def test_the_dynamics_of_a_complex_diagonal_are_its_diagonal(plugin):
    task = tasks().get("copy").load().from_variant("smoke")
    assert check_model(plugin.Diagonal, task) is None
    layer, _ = examine(plugin.Diagonal(task.spec), task, task.held_out(2))
    np.testing.assert_allclose(layer.singular_values, 0.9, rtol=1e-6)
    np.testing.assert_allclose(layer.exponents, math.log(0.9), rtol=1e-6)


def test_a_state_size_that_is_not_that_of_the_step_fails_the_exam(plugin):
    task = tasks().get("copy").load().from_variant("smoke")
    with pytest.raises(AssertionError, match=r"^Half.state_size is 5, and Half.step hands 10 numbers on \(a complex"):
        check_model(plugin.Half, task)


def test_a_state_that_grows_has_a_size_per_step_and_gradients(plugin, tmp_path, capsys):
    task = tasks().get("copy").load().from_variant("smoke")
    assert check_model(plugin.Cache, task) is None
    measures, series = run("cache", tmp_path)
    assert (measures["state_size"], measures["state_size_per_step"]) == (None, 8)
    assert str(Growing(8)) == "8/step"
    assert main(["compare", "cache", "memoryless", "--from", str(tmp_path)]) == 0
    assert re.search(r"state size +8/step +-", capsys.readouterr().out)
    assert np.isfinite(series["gradient_flow/last_step/l0/keys"].values).any()
    *layers, _ = examine(plugin.Cache(task.spec), task, task.held_out(2))
    assert [*layers[0].gradients] == ["keys", "values"]
    assert layers[0].note.startswith("Cache.step has a state of 0 to 64 numbers; Jacobians")

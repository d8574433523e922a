"""The exam's questions about states: a `watch` that can be read, and a `step` that agrees with `states`."""

import pytest
import torch
from torch import nn

from rnnae_bench import Optimization, SequenceModel
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.testing import check_model


class Decaying(SequenceModel):
    """h_t = a h_(t-1) + W x_t, all steps at once: h_t = sum over s <= t of a^(t-s) W x_s."""

    def __init__(self, spec, features=6, optimization=Optimization()):  # noqa: B008 (frozen)
        super().__init__(spec, features, optimization)
        self.drive = nn.Linear(self.embedding.features, features, bias=False)
        self.logit = nn.Parameter(torch.linspace(-1.0, 2.0, features))

    def states(self, inputs, lengths=None):
        lag = torch.arange(inputs.shape[1])
        lag = lag[:, None] - lag
        powers = self.logit.sigmoid() ** lag.clamp(min=0)[..., None] * (lag >= 0)[..., None]
        return torch.einsum("tsf,bsf->btf", powers, self.drive(inputs))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, self.drive.out_features)

    def step(self, inputs, state):
        state = self.logit.sigmoid() * state + self.drive(inputs)
        return state, state


class OtherOutput(Decaying):
    def step(self, inputs, state):
        output, state = super().step(inputs, state)
        return output + 1e-3 * state**2, state


class OtherState(Decaying):
    def step(self, inputs, state):
        output, state = super().step(inputs, state)
        return output, 0.99 * state


class OtherGradient(Decaying):
    def step(self, inputs, state):
        return super().step(inputs, state.detach())


class OtherShape(Decaying):
    def step(self, inputs, state):
        output, state = super().step(inputs, state)
        return output[:, :1], state


@pytest.mark.parametrize("name", ["copy:smoke", "names:smoke"])
def test_a_parallel_form_that_agrees_with_its_step_passes(name):
    task, _, variant = name.partition(":")
    assert check_model(Decaying, tasks().get(task).load().from_variant(variant)) is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (OtherOutput, "disagree at 1 steps: their outputs differ by"),
        (OtherState, "disagree at 2 steps: their outputs differ by"),
        (OtherGradient, "disagree at 2 steps: their gradients of the inputs differ by"),
        (OtherShape, "give outputs of different shapes at 1 steps: [3, 1, 6] and [3, 1, 1]"),
    ],
)
def test_a_step_that_disagrees_fails_in_a_line_that_names_class_and_methods(model, said):
    with pytest.raises(AssertionError) as raised:
        check_model(model, tasks().get("copy").load().from_variant("smoke"))
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{model.__name__}.states and {model.__name__}.step {said}")


class OnlyInTraining(Decaying):
    def training_loss(self, batch):
        self.watch(self.states(self.embedding(batch.inputs)), "all/h")
        return super().training_loss(batch)


class OutOfTheGraph(Decaying):
    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        self.watch(states.detach(), "all/h")
        return states

    step = SequenceModel.step  # no other way to its states


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (OnlyInTraining, "it is called in training, and not in the forward pass that is profiled"),
        (OutOfTheGraph, "the tensor is outside the graph (detached, or computed without gradients)"),
    ],
)
def test_a_watch_that_no_profile_can_read_fails_in_a_line(model, said):
    with pytest.raises(AssertionError) as raised:
        check_model(model, tasks().get("copy").load().from_variant("smoke"))
    assert str(raised.value) == f"{model.__name__}.watch('all/h'): {said}"

"""A model that is fed with its own predictions: from a carried state as from the whole sequence, in float64."""

import numpy as np
import pytest
import torch

from rnnae_bench import Classes, SequenceModel, TaskSpec, Tokens, Values, Vectors, rollout
from rnnae_bench.models.recurrent import GRU, LSTM, RNN
from rnnae_bench.plugins.registry import models

ROWS, CONTEXT, STEPS = 3, 5, 9


class Decay(SequenceModel):
    """A plugin's: a state that decays by half a step, in a `step` of its own."""

    def __init__(self, spec):
        super().__init__(spec, features=2)

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 2)

    def step(self, inputs, state):
        state = 0.5 * state + inputs[:, :2]
        return state.to(self.head.affine.weight.dtype), state


def spec(kind: str, predicts: str) -> TaskSpec:
    inputs, outputs = (Tokens(4, CONTEXT), Classes(4)) if kind == "tokens" else (Vectors(2, CONTEXT), Values(2))
    return TaskSpec("somebody's", inputs, outputs, predicts, causal=True)


@pytest.mark.parametrize("predicts", ["last step", "every step"])
@pytest.mark.parametrize("kind", ["tokens", "vectors"])
@pytest.mark.parametrize("model_class", [RNN, LSTM, GRU, Decay])
def test_a_carried_state_gives_what_the_whole_sequence_gives(model_class, kind, predicts):
    torch.manual_seed(0)
    options = {} if model_class is Decay else {"hidden_size": 6, "layers": 2}
    model = model_class(spec(kind, predicts), **options).double().eval()
    context = torch.randint(4, (ROWS, CONTEXT)) if kind == "tokens" else torch.randn(ROWS, CONTEXT, 2).double()
    read, resume = [], model.resume
    model.resume = lambda inputs, state=None: (read.append(inputs.shape[1]), resume(inputs, state))[1]
    with torch.no_grad():
        found = rollout(model, context, STEPS)
        anew = rollout(lambda inputs, lengths: model(inputs, lengths).double(), context, STEPS)
    assert found.shape == (ROWS, STEPS, 4 if kind == "tokens" else 2)
    assert read == [CONTEXT, *[1] * (STEPS - 1)]
    torch.testing.assert_close(found, anew, rtol=0, atol=1e-12)


def test_a_linear_recurrence_goes_on_as_numpy_has_it():
    model = Decay(spec("vectors", "last step")).double()
    context = torch.randn(1, CONTEXT, 2, generator=torch.Generator().manual_seed(0)).double()
    found = rollout(model, context, STEPS, feed=lambda values: values.clamp(-1, 1))
    weight, bias = (one.detach().numpy() for one in (model.head.affine.weight, model.head.affine.bias))
    state, inputs, answers = np.zeros(2), [*context[0].numpy()], []
    for _ in range(STEPS):
        for one in inputs:
            state = 0.5 * state + one
        answers.append(weight @ state + bias)
        inputs = [answers[-1].clip(-1, 1)]
    np.testing.assert_allclose(found[0].detach().numpy(), answers, rtol=1e-12)
    assert found.requires_grad


def test_what_reads_from_the_end_is_asked_anew():
    looks = spec("vectors", "last step")
    model = GRU(TaskSpec(looks.task, looks.inputs, looks.outputs, looks.predicts, causal=False), 4, bidirectional=True)
    assert not model.resumes
    assert rollout(model, torch.randn(ROWS, CONTEXT, 2), 2).shape == (ROWS, 2, 2)


@pytest.mark.parametrize(
    "name", ["deltanet", "gla", "gru", "lru", "mamba", "mingru", "mlstm", "s4d", "slstm", "transformer"]
)
def test_in_half_precision_a_carried_state_loses_nothing(name):
    torch.manual_seed(0)
    model = models().get(name).load()(spec("vectors", "every step"), hidden_size=8).eval()
    context = torch.randn(ROWS, CONTEXT, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        carried = rollout(model, context, STEPS)
        whole = rollout(lambda inputs, lengths: model(inputs, lengths), context, STEPS)
    torch.testing.assert_close(carried, whole, rtol=0.02, atol=0.02 * whole.abs().max().item())

"""The model of the page on one's own cell is what it says: it passes the exam, and its gradients are autograd's."""

import pytest
import torch
from rnnae_tasks.copy.datamodule import CopyTask

from rnnae_bench.probes.examination import examine
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.testing import check_model


@pytest.fixture
def classes(page, monkeypatch, tmp_path):
    """What the page's Python defines, after all of it has run."""
    monkeypatch.chdir(tmp_path)
    return page("docs/your-own-cell.md").run(monkeypatch)


def test_the_models_of_the_page_pass_the_exam_and_have_their_gradients(classes):
    check_leaky(classes["Leaky"])
    check_gradients(classes["Leaky"], classes["SteppedLeaky"])


def check_leaky(leaky):
    """The page's model passes the exam, and its states are its equation's."""
    task = CopyTask.from_variant("smoke")
    assert check_model(leaky, task) is None
    model = leaky(task.spec, hidden_size=3, leak=0.25).double()
    inputs = torch.randn(2, 4, model.embedding.features, dtype=torch.float64)
    state = torch.zeros(2, 3, dtype=torch.float64)
    for step, answer in zip(inputs.unbind(1), model.states(inputs).unbind(1), strict=True):
        drive = step @ model.input.weight.T + model.input.bias + state @ model.recurrent.weight.T
        state = (1 - 0.25) * state + 0.25 * torch.tanh(drive)
        torch.testing.assert_close(answer, state)


def check_gradients(leaky, stepped):
    """The page's model has the gradient through time that autograd gives, by `watch` and by `step`."""
    task = CopyTask.from_variant("smoke")
    batch = task.held_out(3)
    model = leaky(task.spec, hidden_size=5).double()
    states, state = [], torch.zeros(3, 5, dtype=torch.float64)
    for drive in model.input(model.embedding(batch.inputs).double()).unbind(1):
        state = torch.lerp(state, torch.tanh(drive + model.recurrent(state)), model.leak)
        state.retain_grad()
        states.append(state)
    last_step_loss(task, model.head(torch.stack(states, 1)), batch).backward()
    expected = torch.stack([one.grad.norm(dim=1).log10().mean() for one in states]).flip(0)
    shown, inputs = examine(model, task, batch)
    torch.testing.assert_close(torch.tensor(shown.gradients["h"][0]), expected, rtol=1e-10, atol=1e-10)
    assert shown.exponents is None
    assert inputs.layer == "inputs"
    assert check_model(stepped, task) is None
    twin = stepped(task.spec, hidden_size=5)
    twin.load_state_dict(model.state_dict())
    layer, _ = examine(twin, task, batch)
    torch.testing.assert_close(torch.tensor(layer.gradients["h"][0]), expected, rtol=1e-10, atol=1e-10)
    assert layer.exponents.shape == (3, 4)

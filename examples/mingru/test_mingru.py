"""The package's minGRU takes the exam, and is the equation that its docstring says."""

import pytest
import torch
from rnnae_bench_mingru import MinGRU

from rnnae_bench import TaskSpec, Values, Vectors
from rnnae_bench.testing import check_model


@pytest.mark.parametrize("task", ["copy:smoke", "adding:smoke"], ids=["every step", "last step"])
def test_exam(task):
    assert check_model(MinGRU, task) is None


def test_states_follow_the_equation():
    torch.manual_seed(0)
    model = MinGRU(TaskSpec("any", Vectors(2, length=6), Values(1), "every step", causal=True), hidden_size=4)
    inputs = torch.randn(3, 6, 2)
    proposal, gate = model.recurrence.to_hidden_and_gate(model.inputs(inputs)).chunk(2, dim=-1)
    proposal = torch.where(proposal >= 0, proposal + 0.5, proposal.sigmoid())
    state = torch.zeros(3, 4)
    for step in range(6):
        z = gate[:, step].sigmoid()
        state = (1 - z) * state + z * proposal[:, step]
        torch.testing.assert_close(model.states(inputs)[:, step], state, rtol=1e-4, atol=1e-5)

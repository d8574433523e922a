"""Time constants and openness of gates against their equations."""

import numpy as np
import pytest
import torch

from rnnae_bench.probes.keeping import gate_time_constants, mode_time_constants, openness
from rnnae_bench.recurrence.dynamics import Linearization, norm_by_products, spectral_norm
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.reset_before import ResetBeforeGRU
from rnnae_bench.recurrence.stepwise import linearized
from rnnae_bench.recurrence.vanilla import RNN


def recorded(stack, lengths=None):
    inputs = torch.randn(3, 7, 2, dtype=torch.float64)
    with stack.double().recording() as recordings:
        stack(inputs, lengths)
    return inputs, recordings[0]


def sigma(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("kind", [GRU, ResetBeforeGRU])
def test_gates_of_a_gru_are_those_of_its_equations(kind):
    torch.manual_seed(0)
    stack = kind(2, 5)
    inputs, recording = recorded(stack)
    passage = recording.layers[0][0]
    w_ih, w_hh, b_ih, b_hh = (one.detach().numpy() for one in passage.weights[:4])
    found = {name: gate.numpy() for name, gate in stack.gates(passage).items()}
    assert [*found] == ["r", "z"]
    states = np.concatenate((np.zeros((1, 3, 5)), passage.states.detach().numpy()))
    for t in range(7):
        both = sigma(inputs[:, t].numpy() @ w_ih[:10].T + b_ih[:10] + states[t] @ w_hh[:10].T + b_hh[:10])
        np.testing.assert_allclose(np.concatenate((found["r"][t], found["z"][t]), axis=1), both, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"peepholes": True}, {"forget": "coupled"}, {"forget": "none"}])
def test_gates_of_an_lstm_are_those_of_its_equations(options):
    torch.manual_seed(0)
    stack = LSTM(2, 4, backend="kernel", **options)
    if stack.peepholes:
        torch.nn.init.normal_(stack.peephole_l0)
    inputs, recording = recorded(stack)
    passage = recording.layers[0][0]
    w_ih, w_hh, b_ih, b_hh = (one.detach().numpy() for one in passage.weights[:4])
    p = np.zeros(12) if passage.weights.peepholes is None else passage.weights.peepholes.detach().numpy()
    gates = stack.gates(passage)
    h, c = np.zeros((3, 4)), np.zeros((3, 4))
    for t in range(7):
        i, f, g, o = np.split(inputs[:, t].numpy() @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=1)
        i, f = sigma(i + p[:4] * c), sigma(f + p[4:8] * c)
        c = f * c + i * np.tanh(g)
        o = sigma(o + p[8:] * c)
        h = o * np.tanh(c)
        for name, expected in {"i": i, "f": f, "o": o}.items():
            np.testing.assert_allclose(gates[name][t].detach().numpy(), expected, rtol=1e-10)
    if "forget" in options:
        np.testing.assert_allclose(gates["f"].detach(), 1 - gates["i"].detach() if "coup" in options["forget"] else 1)


def test_a_recurrence_without_gates_has_none():
    stack = RNN(2, 3)
    assert stack.gates(recorded(stack)[1].layers[0][0]) == {}
    assert stack.keeping_gate is None


def test_openness_leaves_the_padding_out():
    gate = torch.tensor([[[0.05, 0.5]], [[0.95, 0.5]], [[1.0, 1.0]]])
    considered = torch.tensor([[True], [True], [False]])
    assert openness({"z": gate}, considered)["z"] == pytest.approx({"mean": 0.5, "closed": 0.25, "open": 0.25})


def test_constant_gates_keep_as_long_as_they_say():
    kept = torch.tensor([0.5, 0.9, 0.99]).double()
    found = gate_time_constants(kept.expand(4, 2, 3), torch.ones(4, 2, dtype=torch.bool))
    expected = -1 / np.log(kept.numpy())
    assert (found["median"], found["longest"]) == pytest.approx((expected[1], expected[2]))


def test_modes_of_a_linear_recurrence_are_its_eigenvalues():
    matrix = torch.diag(torch.tensor([0.5, 0.9, 1.2, 0.0]).double())
    # A pair of complex eigenvalues of modulus .8 beside.
    turn = 0.8 * torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    matrix = torch.block_diag(matrix, turn)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    matrix = basis @ matrix @ basis.T
    states = [torch.zeros(2, 6).double()] * 5
    found = mode_time_constants(linearized(lambda t, s: s @ matrix.T, states, torch.ones(5, 2, dtype=torch.bool)))
    assert found is not None
    assert found["longest"] == pytest.approx(-1 / np.log(0.9))
    assert found["median"] == pytest.approx(-1 / np.log(0.8))
    assert found["growing"] == pytest.approx(1 / 6)


def test_of_large_states_there_are_no_modes_but_norms(monkeypatch):
    monkeypatch.setattr("rnnae_bench.recurrence.dynamics.DENSE", 5)
    torch.manual_seed(0)
    _, recording = recorded(GRU(2, 8))
    linearization = Linearization.of(recording, recording.layers[0][0])
    assert mode_time_constants(linearization) is None
    found = linearization.largest_singular_values()
    monkeypatch.undo()
    torch.testing.assert_close(found, linearization.largest_singular_values(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [1, 5, 64, 300])
def test_norms_by_products_are_those_of_matrices(size):
    torch.manual_seed(0)
    maps = torch.randn(4, size, size, dtype=torch.float64)
    maps[1], maps[2] = 0.0, torch.linalg.qr(maps[2]).Q
    maps[3] = torch.outer(maps[3, 0], maps[3, -1])
    found = norm_by_products(
        lambda v: (maps @ v.unsqueeze(-1)).squeeze(-1),
        lambda u: (maps.mT @ u.unsqueeze(-1)).squeeze(-1),
        torch.randn(4, size, dtype=torch.float64),
    )
    torch.testing.assert_close(found, spectral_norm(maps), rtol=1e-9, atol=1e-12)

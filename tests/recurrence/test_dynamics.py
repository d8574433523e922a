"""Jacobians and Lyapunov exponents against closed forms, eigenvalues and autograd."""

from operator import itemgetter

import numpy as np
import pytest
import torch

from rnnae_bench.errors import UserError
from rnnae_bench.recurrence import dynamics, reference
from rnnae_bench.recurrence.dynamics import Linearization, recurrent_matrices, spectral_norm, spectral_radius
from rnnae_bench.recurrence.gru import GRU
from rnnae_bench.recurrence.independent import IndRNN
from rnnae_bench.recurrence.lstm import LSTM
from rnnae_bench.recurrence.orthogonal import OrthogonalRNN
from rnnae_bench.recurrence.reset_before import ResetBeforeGRU
from rnnae_bench.recurrence.stack import Stack
from rnnae_bench.recurrence.vanilla import RNN

KINDS = {
    "tanh": lambda *sizes, **options: RNN(*sizes, **options),
    "relu": lambda *sizes, **options: RNN(*sizes, activation="relu", **options),
    "identity": lambda *sizes, **options: RNN(*sizes, activation="identity", **options),
    "lstm": LSTM,
    "gru": GRU,
    "modrelu": lambda *sizes, **options: OrthogonalRNN(*sizes, **options),
    "reset_before": ResetBeforeGRU,
    "independent": lambda *sizes, **options: IndRNN(*sizes, bound=1.05, **options),
}


def linearizations(stack: Stack, inputs, lengths=None, last=None) -> dict[str, Linearization]:
    with stack.recording() as recordings:
        stack(inputs, lengths)
    (recording,) = recordings
    return {passage.name: Linearization.of(recording, passage, last) for layer in recording.layers for passage in layer}


def linear(matrix, steps: int, batch: int = 2) -> Linearization:
    """h_t = A h_(t-1), run from zero over inputs that change nothing of its Jacobian."""
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    stack = RNN(1, len(matrix), activation="identity").double()
    with torch.no_grad():
        stack.weight_hh_l0.copy_(matrix)
    (found,) = linearizations(stack, torch.zeros(batch, steps, 1, dtype=torch.float64)).values()
    return found


def seeded(kind: str, *sizes: int, **options):
    torch.manual_seed(3)
    return KINDS[kind](*sizes, **options).double()


def step_of(kind: str):
    """One step from state to state, (h, c) side by side for the LSTM."""

    def step(state, x, weights):
        if kind == "lstm":
            return torch.cat(reference.lstm_step(x[None], *state[None].chunk(2, dim=-1), weights), dim=-1)[0]
        if kind in ("gru", "reset_before"):
            return reference.gru_step(x[None], state[None], weights, "after" if kind == "gru" else "before")[0]
        if kind == "independent":
            return reference.independent_step(x[None], state[None], weights)[0]
        return reference.rnn_step(x[None], state[None], weights, kind)[0]

    return step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [None, 3])
def test_jacobians_are_those_of_autograd(kind, models):
    lead = () if models is None else (models,)
    stack = seeded(kind, 3, 4, bidirectional=True, models=models)
    inputs = torch.randn(*lead, 2, 5, 3, dtype=torch.float64)
    with stack.recording() as recordings:
        stack(inputs)
    for passage in recordings[0].layers[0]:
        found = Linearization.of(recordings[0], passage)
        norms = found.largest_singular_values()
        for place in np.ndindex(*lead, 2):
            model, row = place[:-1], place[-1]
            weights = passage.weights.map(itemgetter(model))
            state = torch.zeros(stack.states * 4, dtype=torch.float64)
            for t in range(5):
                x = passage.x[(*model, t, row)]
                expected = torch.func.jacrev(step_of(kind))(state, x, weights)
                torch.testing.assert_close(found.jacobian(t)[place], expected, rtol=1e-10, atol=1e-12)
                top = torch.linalg.svdvals(expected)[0]
                torch.testing.assert_close(norms[(*model, t, row)], top, rtol=1e-10, atol=1e-12)
                state = step_of(kind)(state, x, weights)
            torch.testing.assert_close(state[:4], passage.states[(*model, -1, row)], rtol=1e-10, atol=1e-12)


def test_a_single_precision_passage_is_linearized_in_double_precision():
    (found,) = linearizations(seeded("gru", 3, 4).float(), torch.randn(2, 5, 3)).values()
    assert found.largest_singular_values().dtype == torch.float64
    assert found.lyapunov_exponents(2).dtype == torch.float64


def test_a_scalar_linear_recurrence_has_the_exponent_ln_a():
    for a in (0.9, 1.1, -0.5):
        found = linear([[a]], steps=50)
        expected = torch.full((2, 1), abs(a), dtype=torch.float64)
        torch.testing.assert_close(found.lyapunov_exponents(1), expected.log(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.largest_singular_values(), expected[0].expand(50, 2), rtol=1e-14, atol=0)


def test_a_diagonal_linear_recurrence_has_the_logarithms_of_its_entries():
    entries = np.array([0.5, -1.02, 0.8])
    exponents = linear(np.diag(entries), steps=40).lyapunov_exponents(3)
    expected = torch.from_numpy(np.log([1.02, 0.8, 0.5])).expand(2, 3)
    torch.testing.assert_close(exponents, expected, rtol=1e-12, atol=1e-14)


def test_an_orthogonal_linear_recurrence_neither_shrinks_nor_stretches():
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    found = linear(matrix, steps=100)
    zero = torch.zeros(2, 4, dtype=torch.float64)
    torch.testing.assert_close(found.lyapunov_exponents(4), zero, rtol=0, atol=1e-13)
    torch.testing.assert_close(found.largest_singular_values(), torch.ones(100, 2).double(), rtol=1e-13, atol=0)


def test_a_linear_recurrence_has_the_logarithms_of_its_eigenvalues():
    matrix = np.random.default_rng(1).normal(size=(5, 5)) / np.sqrt(5)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(matrix))))[::-1]
    exponents = linear(matrix, steps=1000, batch=1).lyapunov_exponents(5)[0].numpy()
    np.testing.assert_allclose(exponents, expected, atol=5e-3)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_the_exponents_sum_to_the_mean_logarithm_of_the_determinants(kind):
    stack = seeded(kind, 3, 4)
    (found,) = linearizations(stack, torch.randn(2, 20, 3, dtype=torch.float64)).values()
    size = 4 * stack.states
    determinants = torch.stack([torch.linalg.det(found.jacobian(t)).abs().log() for t in range(20)])
    summed = found.lyapunov_exponents(size).sum(dim=-1)
    torch.testing.assert_close(summed, determinants.mean(dim=0), rtol=1e-10, atol=1e-12)


def test_backwards_gives_the_exponents_that_forwards_gives():
    stack = seeded("tanh", 1, 6)
    with torch.no_grad():
        stack.weight_hh_l0.mul_(3)
    steps = 1000
    (found,) = linearizations(stack, 0.1 * torch.randn(1, steps, 1, dtype=torch.float64)).values()
    frame, total = np.eye(6), np.zeros(6)
    for t in range(steps):
        frame, r = np.linalg.qr(found.jacobian(t)[0].numpy() @ frame)
        total += np.log(np.abs(np.diag(r)))
    np.testing.assert_allclose(found.lyapunov_exponents(6)[0].numpy(), total / steps, atol=0.01)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_the_exponents_are_those_of_the_products_singular_values(kind):
    stack = seeded(kind, 3, 4)
    (found,) = linearizations(stack, torch.randn(2, 12, 3, dtype=torch.float64)).values()
    product = torch.eye(4 * stack.states, dtype=torch.float64)
    for t in range(12):
        product = found.jacobian(t) @ product
    expected = torch.linalg.svdvals(product)[:, :3].log() / 12
    torch.testing.assert_close(found.lyapunov_exponents(3), expected, rtol=1e-9, atol=1e-12)


def test_a_dead_direction_has_the_exponent_minus_infinity_and_spoils_no_other():
    exponents = linear(np.diag([0.5, 0.0]), steps=30).lyapunov_exponents(2)
    torch.testing.assert_close(exponents[:, 0], torch.full((2,), 0.5).double().log(), rtol=1e-12, atol=0)
    assert exponents[:, 1].eq(-torch.inf).all()


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
@pytest.mark.parametrize("last", [None, 4])
def test_padding_and_what_comes_before_the_last_steps_are_left_out(kind, last, monkeypatch):
    monkeypatch.setattr(dynamics, "TURNING_STEPS", 100)
    stack = seeded(kind, 3, 4, bidirectional=True)
    inputs, lengths = torch.randn(3, 12, 3, dtype=torch.float64), torch.tensor([11, 3, 7])
    for name, found in linearizations(stack, inputs, lengths, last).items():
        exponents, norms = found.lyapunov_exponents(1), found.largest_singular_values()
        for row, length in enumerate(lengths.tolist()):
            alone = linearizations(stack, inputs[row : row + 1, :length])[name]
            steps = range(0 if last is None else max(0, length - last), length)
            assert norms[:, row].isfinite().tolist() == [t in steps for t in range(12)]
            expected = alone.largest_singular_values()[steps.start :, 0]
            torch.testing.assert_close(norms[steps.start : length, row], expected, rtol=1e-12, atol=0)
            product = torch.eye(4 * stack.states, dtype=torch.float64)
            for t in steps:
                product = alone.jacobian(t)[0] @ product
            expected = torch.linalg.matrix_norm(product, ord=2).log() / len(steps)
            torch.testing.assert_close(exponents[row, 0], expected, rtol=1e-6, atol=0)


def test_progress_is_told_of_every_step():
    (found,) = linearizations(seeded("tanh", 1, 2), torch.zeros(1, 7, 1, dtype=torch.float64)).values()
    told = []
    found.largest_singular_values(lambda: told.append("norm"))
    found.lyapunov_exponents(1, lambda: told.append("exponent"))
    assert told == ["norm"] * 7 + ["exponent"] * found.frame_steps
    assert found.frame_steps == 2 * 7 * 143  # there and back, 1000 steps at least


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru"])
def test_recurrent_matrices_are_the_gates_in_torchs_order(kind):
    stack = seeded(kind, 3, 4, bidirectional=True)
    matrices = recurrent_matrices(stack, "l0_reverse")
    assert "".join(matrices) == {"tanh": "h", "lstm": "ifgo", "gru": "rzn"}[kind]
    torch.testing.assert_close(torch.cat([*matrices.values()]), stack.weight_hh_l0_reverse, rtol=0, atol=0)


def test_recurrent_matrices_of_other_kinds():
    independent, orthogonal = seeded("independent", 3, 4, models=2), seeded("modrelu", 3, 4)
    (diagonal,) = recurrent_matrices(independent, "l0").values()
    torch.testing.assert_close(diagonal.diagonal(dim1=-2, dim2=-1), independent.weight_hh_l0.squeeze(1))
    assert torch.count_nonzero(diagonal) == 2 * 4
    assert spectral_norm(recurrent_matrices(orthogonal, "l0")["h"]).item() == pytest.approx(1.0, rel=1e-12)


def test_radius_and_norm_of_matrices():
    matrices = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 4, 4)))
    matrices[0] = torch.tensor([[0, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, -2], [0, 0, 2, 0]])
    radii, norms = spectral_radius(matrices), spectral_norm(matrices)
    assert (radii[0].item(), norms[0].item()) == pytest.approx((2, 9))
    for matrix, radius, norm in zip(matrices.numpy(), radii, norms, strict=True):
        assert radius.item() == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-12)
        assert norm.item() == pytest.approx(np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix).max()), rel=1e-12)


def test_what_can_not_be_is_refused():
    found = linear(np.eye(2), steps=5)
    with pytest.raises(UserError, match="3 Lyapunov exponents of a state of 2"):
        found.lyapunov_exponents(3)
    with pytest.raises(UserError, match="last is 0"):
        linearizations(seeded("tanh", 1, 2), torch.zeros(1, 3, 1, dtype=torch.float64), last=0)
    stack = seeded("identity", 1, 1)
    with pytest.raises(UserError, match="not finite"):
        linearizations(stack, torch.full((1, 3, 1), torch.inf, dtype=torch.float64))

"""Capacities, ranks and bits of states whose memory is known exactly."""

from math import comb

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from rnnae_bench.statistics.memory import (
    Function,
    Readout,
    bits_known,
    contrast_functions,
    entropy,
    legendre_functions,
    products,
    ranks_of_states,
    terms,
)

LAGS = 40


@pytest.fixture
def random():
    return np.random.default_rng(0)


def capacities(states, inputs, degree, most=500):
    values, functions = legendre_functions(inputs, degree)
    chosen = terms(functions, degree, LAGS, most)
    found = Readout(states[:, LAGS:].reshape(-1, states.shape[2])).capacities(products(values, chosen, LAGS))
    return dict(zip(chosen, found, strict=True))


def delay_line(inputs, units):
    rows, time, _ = inputs.shape
    padded = np.concatenate((np.zeros((rows, units, 1)), inputs), axis=1)
    return np.stack([padded[:, units - lag : units - lag + time, 0] for lag in range(units)], axis=2)


def test_functions_are_orthonormal_under_uniform_inputs():
    nodes, weights = np.polynomial.legendre.leggauss(12)
    values, functions = legendre_functions(nodes[:, None], 4)
    np.testing.assert_allclose(values.T * weights / 2 @ values, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(weights @ values, 0, atol=1e-12)
    assert functions == [Function(0, degree) for degree in (1, 2, 3, 4)]
    contrasts, functions = contrast_functions(np.arange(5), 5)
    np.testing.assert_allclose(contrasts.T @ contrasts / 5, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(contrasts.sum(0), 0, atol=1e-12)
    assert functions == [Function(0, 1)] * 4


@pytest.mark.parametrize(("degree", "lags"), [(1, 7), (2, 6), (3, 5)])
def test_all_products_of_polynomials_are_there_once_and_recent_ones_first(degree, lags):
    functions = [Function(0, power) for power in range(1, degree + 1)]
    found = terms(functions, degree, lags, 10_000)
    # As many as there are monomials of the degree.
    assert len(found) == len(set(found)) == comb(lags + degree - 1, degree)
    assert all(sum(functions[place].degree for _, place in term) == degree for term in found)
    assert all(len({lag for lag, _ in term}) == len(term) for term in found)
    assert [term[-1][0] for term in found] == sorted(term[-1][0] for term in found)
    assert terms(functions, degree, lags, 5) == found[:5]


def test_products_of_several_numbers_have_one_function_of_each_at_a_lag():
    two_numbers = [Function(0, 1), Function(1, 1)]
    assert set(terms(two_numbers, 2, 2, 100)) == {
        ((0, 0), (0, 1)),
        *(((0, one), (1, other)) for one in (0, 1) for other in (0, 1)),
        ((1, 0), (1, 1)),
    }
    contrasts = [Function(0, 1)] * 3
    assert len(terms(contrasts, 2, 2, 100)) == 9


def test_products_are_those_of_a_loop(random):
    inputs = random.uniform(-1, 1, (3, 9, 1))
    values, functions = legendre_functions(inputs, 2)
    chosen = terms(functions, 2, 3, 100)
    found = products(values, chosen, 3)
    expected = [
        [np.prod([values[row, t - lag, place] for lag, place in term]) for term in chosen]
        for row in range(3)
        for t in range(3, 9)
    ]
    np.testing.assert_allclose(found, expected)


def test_a_delay_line_holds_exactly_its_length(random):
    inputs = random.uniform(-1, 1, (30, 200, 1))
    found = capacities(delay_line(inputs, 6), inputs, 1)
    np.testing.assert_allclose(list(found.values()), np.arange(LAGS) < 6, atol=1e-9)
    assert sum(capacities(delay_line(inputs, 6), inputs, 2).values()) == 0


@pytest.mark.parametrize("units", [4, 15])
def test_a_linear_reservoir_of_n_units_has_the_capacity_n(random, units):
    inputs = random.uniform(-1, 1, (200, 240, 1))
    recurrent = 0.8 * np.linalg.qr(random.normal(size=(units, units)))[0]
    into, state, states = random.normal(size=units), np.zeros((200, units)), []
    for t in range(240):
        state = state @ recurrent.T + inputs[:, t] * into
        states.append(state)
    found = capacities(np.stack(states, axis=1), inputs, 1)
    assert sum(found.values()) == pytest.approx(units, rel=0.02)


def test_products_of_the_inputs_are_found_by_their_degree(random):
    inputs = random.uniform(-1, 1, (20, 240, 1))
    line = delay_line(inputs, 3)
    mixed = np.stack((line[:, :, 0] * line[:, :, 1], line[:, :, 2] ** 3, 0.2 + line[:, :, 1]), axis=2)
    assert capacities(mixed, inputs, 1)[((1, 0),)] == pytest.approx(1)
    assert capacities(mixed, inputs, 2)[(0, 0), (1, 0)] == pytest.approx(1)
    # u^3 is 2/5 P_3 + 3/5 P_1, of variance 1/7 and so 4/25 / 7 to 9/25 / 3.
    assert capacities(mixed, inputs, 3)[((2, 2),)] == pytest.approx(4 / 25, abs=0.03)
    assert capacities(mixed, inputs, 1)[((2, 0),)] == pytest.approx(21 / 25, abs=0.03)


def test_a_capacity_is_the_adjusted_share_of_a_regression(random):
    states, targets = random.normal(size=(400, 7)), random.normal(size=(400, 3))
    targets[:, 0] += states @ random.normal(size=7)
    share = LinearRegression().fit(states, targets[:, 0]).score(states, targets[:, 0])
    found = Readout(np.concatenate((states, states[:, :2]), axis=1))
    assert found.rank == 7
    np.testing.assert_allclose(found.capacities(targets), [1 - (1 - share) * 399 / 392, 0, 0], rtol=1e-10)
    assert not Readout(np.ones((50, 4))).capacities(targets[:50]).any()


def test_ranks_count_the_directions_that_matter(random):
    apart, alike = random.normal(size=(30, 3)), random.normal(size=(30, 1))
    wide = random.normal(size=(3, 10))
    tiny = 1e-5 * random.normal(size=(30, 10))
    assert ranks_of_states(apart @ wide + 5 + tiny, alike @ wide[:1] + tiny) == (3, 1)
    assert ranks_of_states(np.ones((5, 4)), np.ones((5, 4))) == (0, 0)


def test_bits_are_those_of_a_channel(random):
    """A symbol of two bits of which a state shows one, with 10 % of errors."""
    symbols = random.integers(0, 4, 6000)
    shown = (symbols // 2) ^ (random.random(6000) < 0.1)
    states = np.stack((shown, random.normal(size=6000)), axis=1).astype(float)
    error = 0.1 * np.log2(10) + 0.9 * np.log2(1 / 0.9)
    found = bits_known((states[:3000], symbols[:3000]), (states[3000:], symbols[3000:]))
    assert found == pytest.approx(1 - error, abs=0.04)
    assert bits_known((states[:3000, 1:], symbols[:3000]), (states[3000:, 1:], symbols[3000:])) < 0.01
    whole = np.eye(4)[symbols]
    assert bits_known((whole[:3000], symbols[:3000]), (whole[3000:], symbols[3000:])) == pytest.approx(2, abs=0.02)


def test_bits_of_what_was_never_seen_are_a_number(random):
    states = random.normal(size=(60, 2))
    assert bits_known((states, np.zeros(60, int)), (states, np.arange(60) % 3)) == 0
    assert bits_known((states, np.arange(60) % 2), (states, np.full(60, 7))) == 0
    assert entropy(np.arange(8)) == 3

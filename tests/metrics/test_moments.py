"""Metrics of second moments against scikit-learn and numpy, in parts and whole."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from rnnae_bench.metrics import Capacity, NormalizedError


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    targets = 3 + torch.randn(12, 9, 4, generator=generator)
    return targets + torch.randn(12, 9, 4, generator=generator) * torch.tensor([0.1, 1.0, 3.0, 10.0]), targets


def in_parts(metric, prediction, targets) -> float:
    for rows in (slice(0, 5), slice(5, None)):
        metric.update(prediction[rows], targets[rows])
    return metric.compute().item()


def test_normalised_error_is_one_minus_the_coefficient_of_determination(answers):
    said, truth = (one[:, 2:].flatten().double().numpy() for one in answers)
    assert in_parts(NormalizedError(skip=2), *answers) == pytest.approx(np.sqrt(1 - r2_score(truth, said)))


def test_whoever_says_the_mean_has_an_error_of_one(answers):
    _, targets = answers
    mean = torch.full_like(targets, targets.double().mean().item())
    assert in_parts(NormalizedError(), mean, targets) == pytest.approx(1, rel=1e-6)


def test_capacity_sums_numpys_squared_correlations(answers):
    said, truth = (one[:, 2:].flatten(0, 1).double().numpy() for one in answers)
    expected = [np.corrcoef(said[:, one], truth[:, one])[0, 1] ** 2 for one in range(4)]
    assert in_parts(Capacity(4, skip=2), *answers) == pytest.approx(sum(expected))


def test_scale_and_offset_of_an_answer_do_not_matter_to_capacity(answers):
    _, targets = answers
    assert in_parts(Capacity(4), 5 - 0.1 * targets, targets) == pytest.approx(4)


def test_a_constant_has_no_capacity(answers):
    _, targets = answers
    assert in_parts(Capacity(4), torch.full_like(targets, 0.7), targets) == 0
    assert in_parts(Capacity(4), torch.zeros_like(targets), targets) == 0

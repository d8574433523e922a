"""Clipping against PyTorch's own, to the bit, and its norms against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.training.clipping import Clipping, clip, gradients, norms, trained_weights
from rnnae_bench.trial.vectorized.optimizer import VectorizedAdamW, VectorizedClipping


def weights(scale: float = 1.0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 2, 2))]
    for weight in made:
        weight.grad = scale * torch.randn(weight.shape, generator=generator)
    return made


def norm(gradients: list[torch.Tensor]) -> float:
    return float(np.sqrt(sum((gradient.numpy().astype(np.float64) ** 2).sum() for gradient in gradients)))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize(("largest", "by"), [(0.0, "norm"), (0.5, "norm"), (0.5, "value")])
def test_it_clips_as_pytorch_does_and_tells_the_norms(scale, largest, by):
    ours, theirs = weights(scale), weights(scale)
    each = [norm([weight.grad]) for weight in ours]
    measured = clip(gradients(ours), largest, by)
    if largest and by == "norm":
        nn.utils.clip_grad_norm_(theirs, largest)
    elif largest:
        nn.utils.clip_grad_value_(theirs, largest)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.grad, other.grad)
    np.testing.assert_allclose(measured.before, each, rtol=1e-6)
    assert measured.after.item() == pytest.approx(norm([weight.grad for weight in ours]), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-40, 1e-25, 1e-18, 1e18, 1e20, 1e25, 1e37])
def test_norms_whose_squares_leave_single_precision(scale):
    """Whole, one by one, and clipped to a vector of length 0.5 that points where the gradient did."""
    made = weights(scale)
    made[1].grad *= 1e-6
    each = [norm([weight.grad]) for weight in made]
    whole = norm([weight.grad for weight in made])
    pointed = [weight.grad.double() / whole for weight in made]
    measured = clip(gradients(made), 0.5, "norm")
    np.testing.assert_allclose(measured.before, each, rtol=1e-6)
    assert measured.after.item() == pytest.approx(min(whole, 0.5), rel=1e-6)
    for weight, direction in zip(made, pointed, strict=True):
        torch.testing.assert_close(weight.grad.double(), direction * min(whole, 0.5), rtol=1e-5, atol=0)


def test_one_of_several_models_leaves_single_precision_and_the_others_keep_their_bits():
    made = [nn.Parameter(torch.zeros(3, 5)), nn.Parameter(torch.zeros(3, 2, 2))]
    optimizer = VectorizedAdamW(made, [0.1] * 3)
    scales = torch.tensor([1e25, 1.0, 1e-30])
    generator = torch.Generator().manual_seed(0)
    for weight in made:
        weight.grad = torch.randn(weight.shape, generator=generator) * scales.view(-1, *[1] * (weight.dim() - 1))
    alone = [[weight.grad[member].clone() for weight in made] for member in range(3)]
    expected = [(norm(each), clip(each, 1.0, "norm")) for each in alone]
    clipping = VectorizedClipping(1.0, "norm")
    clipping(optimizer)
    for member, (whole, found) in enumerate(expected):
        np.testing.assert_allclose(clipping.norms.before[member], found.before, rtol=1e-6)
        assert clipping.norms.after[member].item() == pytest.approx(min(whole, 1.0), rel=1e-6)
        assert all(torch.equal(weight.grad[member], own) for weight, own in zip(made, alone[member], strict=True))


def test_a_weight_without_gradient_counts_as_zero():
    made = weights()
    made[1].grad = None
    assert norms(gradients(made))[1] == 0
    clip(gradients(made), 0.1, "norm")
    assert made[1].grad is None


def test_a_gradient_that_is_no_number_stays_one():
    made = weights()
    made[0].grad[0, 0] = float("nan")
    measured = clip(gradients(made), 1.0, "norm")
    assert measured.after.isnan()
    assert made[2].grad.isnan().all()


def test_the_weights_are_the_optimisers_in_its_order_without_frozen_ones():
    one, two, three = weights()
    two.requires_grad_(False)
    optimizer = torch.optim.SGD([{"params": [three, two]}, {"params": [one], "lr": 0.1}], lr=0.1)
    assert [id(weight) for weight in trained_weights(optimizer)] == [id(three), id(one)]
    clipping = Clipping(0.5, "norm")
    before = norms(gradients([three, one])).tolist()
    clipping(optimizer)
    assert clipping.norms.before.tolist() == before
    assert clipping.norms.after.item() == pytest.approx(0.5, rel=1e-5)

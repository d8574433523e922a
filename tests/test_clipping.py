"""Clipping against PyTorch's own, to the bit, and its norms against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.clipping import Clipping, clip, gradients, norms, trained_weights


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

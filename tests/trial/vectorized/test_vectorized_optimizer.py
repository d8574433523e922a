"""Adam and clipping for K models against torch's own, one model at a time, in float64."""

import math

import pytest
import torch
from torch import nn

from rnnae_bench.training.clipping import Clipping
from rnnae_bench.trial.vectorized.optimizer import VectorizedAdamW, VectorizedClipping

RATES = (0.1, 0.01, 1e-3)
SHAPES = ((3, 2), (3,), (2, 2))


def gradient(step: int, model: int, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * step + 10 * model + len(shape))
    # The models differ in size, so that clipping finds some and not others.
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** (model - 1)


def start(model: int) -> list[nn.Parameter]:
    return [nn.Parameter(gradient(99, model, shape)) for shape in SHAPES]


@pytest.mark.parametrize(("clip", "by"), [(0.0, "norm"), (1.0, "norm"), (0.5, "value")])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_every_model_steps_as_it_would_alone(clip, by, weight_decay):
    models = range(len(RATES))
    weights = [nn.Parameter(torch.stack([start(model)[place] for model in models])) for place in range(len(SHAPES))]
    together = VectorizedAdamW(weights, RATES, weight_decay)
    clipping = VectorizedClipping(clip, by)
    alone = [start(model) for model in models]
    optimizers = [
        torch.optim.AdamW(own, lr=rate, weight_decay=weight_decay) for own, rate in zip(alone, RATES, strict=True)
    ]
    clippings = [Clipping(clip, by) for _ in models]
    hits = set()
    for step in range(100):
        share = 1 / (1 + step)
        together.zero_grad()
        for place, shape in enumerate(SHAPES):
            if (step, place) != (3, 1):  # a weight that backpropagation does not come by
                weights[place].grad = torch.stack([gradient(step, model, shape) for model in models])
        clipping(together)
        together.param_groups[0]["lr"] = share
        together.step()
        for model in models:
            for place, shape in enumerate(SHAPES):
                missing = (step, place) == (3, 1)
                alone[model][place].grad = (
                    torch.zeros(shape, dtype=torch.float64) if missing else gradient(step, model, shape)
                )
            clippings[model](optimizers[model])
            optimizers[model].param_groups[0]["lr"] = RATES[model] * share
            optimizers[model].step()
            before, after = clippings[model].norms
            torch.testing.assert_close(clipping.norms.before[model], before, rtol=1e-12, atol=0)
            torch.testing.assert_close(clipping.norms.after[model], after, rtol=1e-12, atol=0)
            hits.add((model, bool(after < 0.999 * torch.linalg.vector_norm(before))))
            for mine, own in zip(weights, alone[model], strict=True):
                torch.testing.assert_close(mine[model], own, rtol=1e-12, atol=1e-15)
                torch.testing.assert_close(mine.grad[model], own.grad, rtol=1e-12, atol=0)
    if clip:
        assert {(0, False), (2, True)} <= hits


def test_gradients_come_from_backpropagation():
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    optimizer = VectorizedAdamW([weight], [0.5, 0.25], weight_decay=0.0)
    optimizer.zero_grad()
    (weight**2).sum().backward()
    assert optimizer.step() is None
    assert torch.equal(optimizer.gradient, torch.tensor([[2.0, 4.0], [6.0, 8.0]]))
    # Adam's first step is as long as the learning rate.
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.5, 1.5], [2.75, 3.75]]), rtol=1e-6, atol=1e-6)


def test_a_frozen_model_stays_at_zero_and_the_others_do_not_notice():
    def run(frozen: bool) -> torch.Tensor:
        weight = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        optimizer = VectorizedAdamW([weight], [0.5, 0.25], weight_decay=0.1)
        for step in range(5):
            poison = math.nan if frozen and step == 1 else 1.0
            optimizer.zero_grad()
            losses = (weight**2).sum(1) * torch.tensor([poison if step < 2 else 0.0, 1.0])
            losses.sum().backward()
            optimizer.step()
            if frozen and step == 1:
                assert weight[0].isnan().all()
                optimizer.freeze(0)
        return weight.detach().clone()

    frozen, free = run(True), run(False)
    assert torch.equal(frozen[0], torch.zeros(2))
    assert torch.equal(frozen[1], free[1])
    assert not torch.equal(free[0], torch.zeros(2))

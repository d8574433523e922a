"""Gradient norms against autograd by hand, in float64, with and without clipping."""

import math

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from rnnae_tasks.copy.datamodule import CopyTask

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.probes import Evaluation, GradientNorms, TrainingCurve
from rnnae_bench.probes.base import StepBuffer
from rnnae_bench.probes.gradient_norms import layer_of

STEPS = 5

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`max_epochs` was not set"),
]


def train(model: LightningModule, task: CopyTask, *probes, **options) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=task.protocol.max_steps,
        precision="64-true",
        callbacks=[*probes],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        **options,
    )
    trainer.fit(model, datamodule=task)
    return trainer


@pytest.fixture
def task() -> CopyTask:
    return CopyTask(delay=2, recall=2, evaluation_size=8, protocol=Protocol(STEPS, 4, 1))


@pytest.mark.parametrize(("clip", "clip_by"), [(0.0, "norm"), (0.3, "norm"), (0.01, "value")])
def test_norms_are_those_of_a_training_loop_by_hand(task, clip, clip_by):
    optimization = Optimization(learning_rate=0.01, warmup=0.4, clip=clip, clip_by=clip_by)
    torch.manual_seed(0)
    model = GRU(task.spec, hidden_size=6, layers=2, optimization=optimization)
    torch.manual_seed(0)
    twin = GRU(task.spec, hidden_size=6, layers=2, optimization=optimization).double()
    probe, curve = GradientNorms(), TrainingCurve()
    train(model, task, probe, curve)

    optimizer = torch.optim.AdamW(twin.parameters(), lr=1.0, weight_decay=0.0)
    expected: dict[str, list[float]] = {}
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.01 * optimization.rate(step, STEPS)
        batch = task.train_batch(step)
        optimizer.zero_grad()
        states = twin.recurrence(torch.nn.functional.one_hot(batch.inputs, 10).double())[0]
        loss = task.loss(twin.head(states), batch)
        loss.backward()
        squares: dict[str, float] = {}
        for name, weight in twin.named_parameters():
            squares[layer_of(name)] = squares.get(layer_of(name), 0.0) + weight.grad.square().sum().item()
        row = {f"gradient_norm/{layer}": math.sqrt(square) for layer, square in squares.items()}
        row["gradient_norm"] = math.sqrt(sum(squares.values()))
        if clip and clip_by == "norm":
            torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
        elif clip:
            torch.nn.utils.clip_grad_value_(twin.parameters(), clip)
        row["gradient_norm_clipped"] = math.sqrt(sum(weight.grad.square().sum().item() for weight in twin.parameters()))
        row["loss"] = loss.item()
        row["learning_rate"] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        for key, value in row.items():
            expected.setdefault(key, []).append(value)

    measured = {**probe.series(), **curve.series()}
    assert measured.keys() == expected.keys()
    assert {
        "gradient_norm/recurrence.l0",
        "gradient_norm/recurrence.l1",
        "gradient_norm/head.affine",
    } <= expected.keys()
    for name, values in expected.items():
        assert measured[name].steps.tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(measured[name].values, values, rtol=1e-6)
    clipped = np.array(expected["gradient_norm_clipped"]) < 0.9999 * np.array(expected["gradient_norm"])
    assert probe.measures()["clipped_fraction"] == clipped.mean()
    assert clipped.any() == bool(clip)


def test_an_optimiser_step_over_several_batches_is_one_row(task):
    probe, curve = GradientNorms(), TrainingCurve()
    train(GRU(task.spec, hidden_size=4), task, probe, curve, accumulate_grad_batches=3)
    assert probe.series()["gradient_norm"].steps.tolist() == [1, 2, 3, 4, 5]
    assert curve.series()["loss"].steps.tolist() == [1, 2, 3, 4, 5]


def test_probes_never_change_the_training(task):
    ends = []
    for probes in ([], [GradientNorms(), TrainingCurve(), Evaluation(task, task.card().variant("smoke").primary)]):
        torch.manual_seed(1)
        model = GRU(task.spec, hidden_size=4, optimization=Optimization(clip=0.1))
        train(model, task, *probes)
        ends.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*ends)


def test_the_buffer_keeps_order_over_blocks():
    buffer = StepBuffer()
    count = 2 * StepBuffer.BLOCK + 7
    for step in range(count):
        buffer.append(step + 1, torch.tensor([float(step), -float(step)]))
        if step == 300:
            assert len(buffer.rows()[0]) == 301
    steps, values = buffer.rows()
    assert steps.tolist() == list(range(1, count + 1))
    assert values[:, 0].tolist() == list(range(count))
    assert values[:, 1].tolist() == [-step for step in range(count)]

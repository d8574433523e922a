"""Underflow of gradients that are known, against numpy's own limits of each format."""

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from rnnae_tasks.copy.datamodule import CopyTask
from torch.utils.data import DataLoader

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.probes.underflow import Underflow, underflow
from rnnae_bench.training.blocks import Blocks

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`max_epochs` was not set"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*No supported gpu backend found"),
]

VALUES = [0.0, 1e-320, 1e-40, -2e-38, 3e-8, -5.9e-5, 6.2e-5, -0.5, 3.0, float("inf"), float("nan")]


def trainer(*callbacks, **options) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


class KnownGradient(LightningModule):
    """Its gradient is `gradient`, from step to step times `growth`."""

    def __init__(self, gradient: list[float], growth: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(len(gradient)))
        self.unused = torch.nn.Parameter(torch.zeros(3))
        self.gradient, self.growth = torch.tensor(gradient, dtype=torch.float64), growth

    def training_step(self, batch, batch_idx):
        factor = self.growth**self.trainer.global_step
        return (self.weight * (self.gradient * factor).to(self.weight.dtype)).sum()

    def train_dataloader(self):
        return DataLoader(torch.zeros(1000, 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
@pytest.mark.parametrize(("format", "theirs"), [(torch.float16, np.float16), (torch.float32, np.float32)])
def test_fractions_are_those_of_numpys_formats(format, theirs, scale):
    values = np.array(VALUES, dtype=np.float64)
    expected = np.mean(np.abs(values) * scale < np.finfo(theirs).smallest_normal)
    gradient = torch.tensor(VALUES, dtype=torch.float64)
    assert underflow([gradient], format, scale).item() == expected
    assert underflow([gradient[:4], gradient[4:].reshape(7, 1)], format, scale).item() == expected


def test_every_format_has_its_limit():
    gradient = torch.tensor(VALUES, dtype=torch.float64)
    lost = {
        format: round(underflow([gradient], format).item() * len(VALUES))
        for format in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    }
    assert lost == {torch.float64: 2, torch.float32: 3, torch.bfloat16: 3, torch.float16: 6}


def test_half_precision_gradients_are_not_scaled_to_infinity_or_zero():
    gradient = torch.tensor([3e-5, 0.0, 6e-8, 1000.0], dtype=torch.float16)
    assert underflow([gradient], torch.float16).item() == 0.75
    assert underflow([gradient], torch.float16, 2.0**16).item() == 0.25


def test_members_are_counted_each_by_itself():
    gradients = [torch.randn(3, 4, 5), torch.randn(3, 2)]
    gradients[0][1, :2], gradients[1][2] = 0.0, 1e-45
    each = [underflow([one[member] for one in gradients], torch.float32).item() for member in range(3)]
    assert underflow(gradients, torch.float32, members=3).tolist() == each == [0.0, 10 / 22, 2 / 22]


@pytest.mark.parametrize(("precision", "lost"), [("32-true", 2), ("64-true", 1), ("bf16-mixed", 2), ("bf16-true", 2)])
def test_the_format_is_that_of_the_trial(precision, lost):
    probe = Underflow()
    trainer(probe, precision=precision, max_steps=3).fit(KnownGradient([0.0, 1e-40, 1e-6, 1.0]))
    assert probe.series()["gradient_underflow"].values.tolist() == [lost / 4] * 3
    assert probe.measures() == {"gradient_underflow": lost / 4}


@pytest.mark.filterwarnings("ignore:.*AMP with fp16")
def test_the_loss_scale_counts_under_float16():
    """Gradients of 1e-8 would underflow float16 as they are, and don't when the loss is scaled by 65536."""
    for scale, lost in ((1.0, 3 / 4), (2.0**16, 1 / 4)):
        probe = Underflow()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        trainer(probe, plugins=[plugin], max_steps=2).fit(KnownGradient([0.0, 1e-8, 1e-8, 0.1]))
        assert probe.measures()["gradient_underflow"] == lost


@pytest.mark.parametrize(("steps", "sampled"), [(5, [1, 2, 3, 4, 5]), (100, [*range(1, 100, 5)])])
def test_about_twenty_steps_are_sampled(steps, sampled):
    probe = Underflow()
    trainer(probe, max_steps=steps).fit(KnownGradient([1.0, 1e-30], growth=0.1))
    series = probe.series()["gradient_underflow"]
    assert series.steps.tolist() == sampled
    smallest = np.finfo(np.float32).smallest_normal
    expected = [np.mean([0.1 ** (step - 1) < smallest, 1e-30 * 0.1 ** (step - 1) < smallest]) for step in sampled]
    assert series.values.tolist() == expected


@pytest.mark.parametrize("in_blocks", [False, True])
def test_it_is_measured_before_clipping_in_blocks_too(in_blocks):
    """Clipped to 1e-44 everything would underflow; before it only the embeddings of the symbols not seen do."""
    task = CopyTask(delay=2, recall=2, evaluation_size=8, protocol=Protocol(4, 4, 2))
    model = GRU(task.spec, hidden_size=4, optimization=Optimization(clip=1e-44, clip_by="value"))
    if in_blocks:
        task.blocks = Blocks(4, 2)
        model.train_in_blocks()
    probe = Underflow()
    options = {"val_check_interval": 1, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    trainer(probe, max_steps=4, use_distributed_sampler=False, **options).fit(model, datamodule=task)
    series = probe.series()["gradient_underflow"]
    assert series.steps.tolist() == [1, 2, 3, 4]
    assert (series.values < 0.5).all()


def test_without_a_step_there_is_nothing_to_say():
    assert Underflow().series() == {}
    assert Underflow().measures() == {"gradient_underflow": None}

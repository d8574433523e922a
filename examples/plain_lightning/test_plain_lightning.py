"""The adapted module takes the exam, and trains in the suite as it does in Lightning without it."""

import lightning
import numpy as np
import pytest
import torch
from rnnae_bench_plain_lightning.adapted import AdaptedLSTM
from rnnae_bench_plain_lightning.regressor import LSTMRegressor
from rnnae_tasks.adding.datamodule import AddingTask
from torch.utils.data import DataLoader

import rnnae_bench
from rnnae_bench.errors import UserError
from rnnae_bench.testing import MODEL_CHECKS, ModelCandidate, check_model, require_passed


def test_exam():
    assert check_model(AdaptedLSTM, "adding:smoke") is None


def test_its_loss_has_to_be_declared_where_it_is_not_the_tasks():
    class Undeclared(AdaptedLSTM):
        own_loss = None

    (loss,) = [check for check in MODEL_CHECKS if check.name == "loss"]
    require_passed([loss.ask(ModelCandidate(Undeclared, "adding:smoke"))])
    with pytest.raises(AssertionError, match="or declare the other one: own_loss"):
        require_passed([loss.ask(ModelCandidate(Undeclared, "forecast:smoke"))])


class Losses(lightning.Callback):
    """Keeps the loss of every step."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.found.append(outputs["loss"].item())


def test_it_learns_what_it_learns_without_the_suite(tmp_path):
    task = AddingTask.from_variant("smoke")
    batches = [task.train_batch(step) for step in range(6)]
    lightning.seed_everything(0, verbose=False)
    author, losses = LSTMRegressor(task.spec.inputs.features, task.spec.outputs.features), Losses()
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=[losses],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
    )
    epochs = iter([batches[:3], batches[3:]])

    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return DataLoader([(batch.inputs, batch.targets) for batch in next(epochs)], batch_size=None)

    trainer.fit(author, datamodule=Data())
    results = rnnae_bench.run(
        "adding:smoke",
        AdaptedLSTM,
        task_options={"protocol.max_steps": 6, "protocol.evaluate_every": 3},
        trainer_options={"accelerator": "cpu"},
        out=tmp_path,
        progress=False,
    )
    (result,) = results
    np.testing.assert_allclose(result.series["loss"].values, losses.found, rtol=1e-5)
    inputs = task.evaluation_set("test").inputs
    torch.testing.assert_close(result.model(inputs, None), author(inputs))


def test_other_tasks_are_refused_in_its_own_words():
    with pytest.raises(UserError, match="it regresses on whole sequences of one length"):
        rnnae_bench.run("copy:smoke", AdaptedLSTM)

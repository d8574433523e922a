"""What tests of models share."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.metrics import squared_error


@pytest.fixture
def loss_terms(monkeypatch):
    """The training loss of an autoencoder on rows, by name, under the squared error."""

    monkeypatch.setattr(BenchModule, "task", SimpleNamespace(loss=squared_error))

    def loss_terms(model: torch.nn.Module, rows: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        loss = model.training_loss(Batch(rows, rows if targets is None else targets))
        return {"loss": loss} if isinstance(loss, Tensor) else loss

    return loss_terms

"""Whether a model's code is as small as a task asks for, found by encoding one row."""

import torch
from torch import nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.spec import TaskSpec


def code_objection(model: nn.Module, spec: TaskSpec, batch: Batch) -> str | None:
    """Why a model does not keep to the task's `TaskSpec.code_limit`; None where it does, or where there is none.

    Args:
        model: In evaluation mode; its first code is counted, whatever it says of itself.
        spec: Of the task.
        batch: Whose first row is encoded. A complex number counts twice.
    """
    if spec.code_limit is None:
        return None
    if not isinstance(model, Autoencoder):
        return f"the task is to be solved through a code of at most {spec.code_limit} numbers, and the model has none"
    row = batch.rows(slice(0, 1))
    with torch.no_grad():
        code = model.code(row.inputs, row.lengths)
    size = code.numel() * (2 if code.is_complex() else 1)
    return f"its code has {size} numbers, and the task allows {spec.code_limit}" if size > spec.code_limit else None

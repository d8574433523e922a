"""Whether a model's predictions go through a code, and one as small as the task asks for: tried out, not believed."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.spec import TaskSpec


@torch.no_grad()
def code_objection(model: nn.Module, spec: TaskSpec, batch: Batch) -> str | None:
    """Why a model does not keep to the task's `TaskSpec.code_limit`; None where it does, or where there is none.

    The code of two rows is counted, whatever the model says of its size (a complex number counts twice); and with zeros
    in place of the code, the two rows must get the same prediction.

    Args:
        model: In evaluation mode.
        spec: Of the task.
        batch: Whose first rows are encoded.
    """
    limit = spec.code_limit
    if limit is None:
        return None
    if not isinstance(model, Autoencoder):
        return f"the task is to be solved through a code of at most {limit} numbers, and the model has none"
    rows = batch.rows(slice(0, 2))
    code = model.code(rows.inputs, rows.lengths)
    size = code[0].numel() * (2 if code.is_complex() else 1)
    if size > limit:
        return f"its code has {size} numbers, and the task allows {limit}"
    # An attribute of the instance hides the method of its class.
    vars(model)["code"] = lambda *inputs: torch.zeros_like(code)
    try:
        prediction = model(rows.inputs, rows.lengths)
    finally:
        del vars(model)["code"]
    if not torch.allclose(prediction[0], prediction[-1], atol=1e-5):
        return "its prediction is made from more than its code; let its forward decode `code(inputs, lengths)` alone"
    return None


def codes(model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "batch code"]:
    """The code of each row, flat, a complex number as two: for a task that scores what a code knows.

    Such a task sets a `TaskSpec.code_limit`, so that a model without a code is refused before the training.

    Args:
        model: Has a ``code(inputs, lengths)``, as every `Autoencoder`.
        batch: The rows.
    """
    code = model.code(batch.inputs, batch.lengths)  # type: ignore[attr-defined]
    return (torch.view_as_real(code) if code.is_complex() else code).flatten(1)

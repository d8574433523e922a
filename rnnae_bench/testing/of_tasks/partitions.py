"""Ways to deal out the rows of a batch to devices or batches."""

import torch
from torch import Tensor


def partitions(rows: int) -> list[tuple[str, list[slice | Tensor]]]:
    """Each with what a message calls it: every other row, one and all others, and all in another order."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    found: list[tuple[str, list[slice | Tensor]]] = [("in another order", [order])]
    if rows > 1:
        found = [
            ("dealt out to two", [slice(0, None, 2), slice(1, None, 2)]),
            (f"as 1 and {rows - 1}", [slice(0, 1), slice(1, None)]),
            *found,
        ]
    return found

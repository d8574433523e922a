"""What the tests of the recurrences share."""

import pytest
import torch


@pytest.fixture
def double():
    """Tensors are float64 unless told otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)

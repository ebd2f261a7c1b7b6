"""Randomness that is the same whatever ran before."""

import pytest
import torch


@pytest.fixture
def seeded() -> None:
    """Draws without a generator of their own start from one seed."""
    torch.manual_seed(0)

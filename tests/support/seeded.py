"""Global randomness from a fixed seed."""

import pytest
import torch


@pytest.fixture
def seeded() -> None:
    """Seeds torch's global generator."""
    torch.manual_seed(0)

"""Adversarial losses on logits (B,) -> scalar."""

import torch
import torch.nn.functional as F


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Discriminator's hinge loss (SAGAN paper, equation 4): mean relu(1 - real) + relu(1 + fake)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: torch.Tensor) -> torch.Tensor:
    """Generator's hinge loss (SAGAN paper, equation 4): -mean fake."""
    return -fake.mean()

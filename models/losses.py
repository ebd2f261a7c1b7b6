"""Adversarial losses on logits (B,) -> scalar."""

import torch
import torch.nn.functional as F


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Discriminator's: mean relu(1 - real) + relu(1 + fake) (SAGAN paper, equation 4)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(fake: torch.Tensor) -> torch.Tensor:
    """Generator's: -mean fake (SAGAN paper, equation 4)."""
    return -fake.mean()

"""Adversarial losses on logits (B,), and the auxiliary classifier's -> scalars.

Each adversarial loss is a pair: the discriminator's of real and fake logits, the generator's of
fake ones.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F


class AdversarialLoss(NamedTuple):
    """What each network minimises."""

    d: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    g: Callable[[torch.Tensor], torch.Tensor]


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """mean relu(1 - real) + mean relu(1 + fake) (SAGAN paper, equation 4)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def negative_mean_g(fake: torch.Tensor) -> torch.Tensor:
    """-mean fake (SAGAN paper, equation 4; also Wasserstein GANs')."""
    return -fake.mean()


def non_saturating_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-mean log s(real) - mean log(1 - s(fake)), s the sigmoid (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_g(fake: torch.Tensor) -> torch.Tensor:
    """-mean log s(fake) (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def wasserstein_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """mean fake - mean real (Gulrajani et al. 2017, equation 3 without its penalty)."""
    return fake.mean() - real.mean()


def least_squares_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Half of mean (real - 1)^2 + mean fake^2 (Mao et al. 2017, equation 9)."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def least_squares_g(fake: torch.Tensor) -> torch.Tensor:
    """Half of mean (fake - 1)^2 (Mao et al. 2017, equation 9)."""
    return (fake - 1).square().mean() / 2


ADVERSARIAL_LOSSES: Mapping[str, AdversarialLoss] = {
    "hinge": AdversarialLoss(hinge_d, negative_mean_g),
    "non-saturating": AdversarialLoss(non_saturating_d, non_saturating_g),
    "wasserstein-gp": AdversarialLoss(wasserstein_d, negative_mean_g),
    "least-squares": AdversarialLoss(least_squares_d, least_squares_g),
}


def classification(class_logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of class logits (B, K) with labels (B,): -L_C of Odena et al. 2017, eq. 3.

    The discriminator minimises the sum of it on real and on fake images, the generator that on
    its own.
    """
    return F.cross_entropy(class_logits, y)

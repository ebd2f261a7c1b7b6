"""Adversarial losses, the auxiliary classifier's loss and the gradient penalty.

Each adversarial loss is a pair: the discriminator's, of real and fake logits (B,), and the
generator's, of fake logits (B,); both return scalars.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.discriminator import DOutput


class AdversarialLoss(NamedTuple):
    """The loss of each network."""

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

    The discriminator minimises its sum over real and generated images, the generator its value on
    generated ones.
    """
    return F.cross_entropy(class_logits, y)


def gradient_penalty(
    D: Callable[[torch.Tensor, torch.Tensor], DOutput],
    real: torch.Tensor,
    fake: torch.Tensor,
    labels: torch.Tensor,
    mixture: torch.Tensor,
) -> torch.Tensor:
    """mean (|dD/dx| - 1)^2 at x = mixture * real + (1 - mixture) * fake -> scalar.

    The penalty of Wasserstein GANs (Gulrajani et al. 2017, equation 3).
    real and fake (B, C, R, R), labels (B,) of the real images, mixture (B,) in [0, 1).
    """
    mixture = mixture.to(real)[:, None, None, None]
    x = (mixture * real + (1 - mixture) * fake).detach().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        logits, _ = D(x, labels)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

"""The gradient penalty of Wasserstein GANs (Gulrajani et al. 2017, equation 3)."""

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.discriminator import Verdict


def gradient_penalty(
    D: Callable[[torch.Tensor, torch.Tensor], Verdict],
    real: torch.Tensor,
    fake: torch.Tensor,
    labels: torch.Tensor,
    mixture: torch.Tensor,
) -> torch.Tensor:
    """mean (|dD/dx| - 1)^2 at x = mixture * real + (1 - mixture) * fake -> scalar.

    real and fake (B, C, R, R) and labels (B,), the real images'; mixture (B,) in [0, 1).
    """
    mixture = mixture.to(real)[:, None, None, None]
    x = (mixture * real + (1 - mixture) * fake).detach().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        logits, _ = D(x, labels)
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

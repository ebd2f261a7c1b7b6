"""Latents for sampling: truncation, and paths between two of them."""

import math

import torch
import torch.nn.functional as F


def truncated_normal(
    count: int, z_dim: int, threshold: float, generator: torch.Generator
) -> torch.Tensor:
    """Normal latents (count, z_dim) float32 with every component in [-threshold, threshold].

    The truncation trick (Brock et al. 2019, section 3.1): smaller thresholds trade variety for
    fidelity. Drawn by inverting the distribution, so that no redraws depend on the values. Raises
    ValueError for a threshold that is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"truncation = {threshold}; it should be above 0 (0.5 is strong, 2 weak)")
    reach = math.erf(threshold / math.sqrt(2))  # probability of [-threshold, threshold]
    u = torch.rand(count, z_dim, generator=generator, dtype=torch.float64)
    z = math.sqrt(2) * torch.erfinv((2 * u - 1) * reach)
    return z.clamp(-threshold, threshold).float()


def slerp(start: torch.Tensor, end: torch.Tensor, num: int) -> torch.Tensor:
    """Spherical path (num, z_dim) between latents (z_dim,), both ends included (White 2016).

    A straight line would pass through shorter vectors than a normal distribution draws.
    """
    t = torch.linspace(0, 1, num, dtype=start.dtype, device=start.device)[:, None]
    cosine = (F.normalize(start, dim=0) @ F.normalize(end, dim=0)).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if torch.sin(angle) < 1e-6:  # one direction, or opposite ones: the straight line
        return start + t * (end - start)
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)

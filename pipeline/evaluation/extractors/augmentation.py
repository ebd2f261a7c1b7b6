"""Small random shifts, rotations and changes of scale."""

import math

import torch
import torch.nn.functional as F

MAX_SHIFT = 0.1
"""Of half the image's side."""
MAX_ROTATION = math.radians(10)
MAX_SCALE = 0.1
"""Relative to 1."""


def random_affine(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Each image (B, C, H, W) moved on its own, bilinearly; the border's pixels fill what opens."""
    uniform = 2 * torch.rand(4, len(images), generator=draws) - 1  # CPU: the same on every device
    shift_x, shift_y = MAX_SHIFT * uniform[:2]
    angle, scale = MAX_ROTATION * uniform[2], 1 + MAX_SCALE * uniform[3]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift_x], dim=1), torch.stack([sin, cos, shift_y], dim=1)]
    transform = torch.stack(rows, dim=1).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

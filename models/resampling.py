"""3x3 convolutions folded exactly with their neighbouring 2x up- or down-sampling.

A 3x3 convolution after nearest-neighbour upsampling is one 4x4 transposed convolution of stride 2;
a 3x3 convolution before 2x2 average pooling is one 4x4 convolution of stride 2. In both, the 4x4
kernel is the 3x3 kernel summed over every 2x2 window of its zero-padded self. Zero padding of one
pixel at the border is kept exactly.
"""

import torch
import torch.nn.functional as F


def conv3x3(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Same-size convolution: (B, I, H, W) with weight (O, I, 3, 3) -> (B, O, H, W)."""
    return F.conv2d(x, weight.to(x.dtype), _cast(bias, x), padding=1)


def upsample_conv3x3(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """conv3x3(upsample_nearest2x(x)): (B, I, H, W) with weight (O, I, 3, 3) -> (B, O, 2H, 2W)."""
    kernel = _window_sums(weight).flip(2, 3).transpose(0, 1)  # (I, O, 4, 4)
    return F.conv_transpose2d(x, kernel.to(x.dtype), _cast(bias, x), stride=2, padding=1)


def conv3x3_downsample(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """avg_pool2x2(conv3x3(x)): (B, I, H, W) with weight (O, I, 3, 3) -> (B, O, H/2, W/2)."""
    kernel = _window_sums(weight) / 4  # (O, I, 4, 4)
    return F.conv2d(x, kernel.to(x.dtype), _cast(bias, x), stride=2, padding=1)


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Nearest-neighbour doubling: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Mean over 2x2 windows: (B, C, H, W) -> (B, C, H/2, W/2)."""
    return F.avg_pool2d(x, 2)


def _window_sums(weight: torch.Tensor) -> torch.Tensor:
    """(O, I, 3, 3) -> (O, I, 4, 4): each 2x2 window of the zero-padded kernel, summed."""
    w = F.pad(weight, (1, 1, 1, 1))  # (O, I, 5, 5)
    rows = w[:, :, 1:] + w[:, :, :-1]  # (O, I, 4, 5)
    return rows[:, :, :, 1:] + rows[:, :, :, :-1]  # (O, I, 4, 4)


def _cast(bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    return None if bias is None else bias.to(x.dtype)

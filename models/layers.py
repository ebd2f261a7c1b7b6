"""Convolutions, linear maps and embeddings to which spectral normalisation can apply."""

import torch
import torch.nn.functional as F
from torch import nn

from models.resampling import conv3x3, conv3x3_downsample, upsample_conv3x3
from models.spectral_norm import SpectralLayer


def widen(x: torch.Tensor) -> torch.Tensor:
    """At least float32: bf16 becomes float32, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


_CONVOLUTIONS = {None: conv3x3, "up": upsample_conv3x3, "down": conv3x3_downsample}


class Conv3x3(SpectralLayer):
    """3x3 convolution with zero padding, optionally folded with a 2x resampling."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resample: str | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, I, H, W) -> (B, O, sH, sW), s = 1, 2 (up) or 1/2 (down)."""
        return _CONVOLUTIONS[self.resample](x, self.effective_weight(), self.bias)


class Conv1x1(SpectralLayer):
    """1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, self.effective_weight().to(x.dtype), bias)


class Linear(SpectralLayer):
    """Affine map of vectors."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, I) -> (B, O)."""
        return F.linear(x, self.effective_weight(), self.bias)


class Embedding(SpectralLayer):
    """A table of vectors, one for each class."""

    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """(B,) int64 -> (B, C)."""
        return F.embedding(y, self.effective_weight())

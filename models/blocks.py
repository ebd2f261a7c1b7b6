"""Residual blocks of the released networks, with up- and down-sampling folded into convolutions.

The 1x1 convolution of a shortcut commutes with both resamplings, so it runs at the smaller size.
"""

import torch
import torch.nn.functional as F
from torch import nn

from models.layers import Conv1x1, Conv3x3
from models.normalization import BatchStatistics, ConditionalBatchNorm
from models.resampling import downsample, upsample


class GeneratorBlock(nn.Module):
    """cBN-ReLU-up-conv3x3-cBN-ReLU-conv3x3 plus up-conv1x1.

    Source: brain-research/self-attention-gan generator.py:78-92.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_classes: int, statistics: BatchStatistics
    ) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(num_classes, in_channels, statistics)
        self.conv1 = Conv3x3(in_channels, out_channels, resample="up")
        self.norm2 = ConditionalBatchNorm(num_classes, out_channels, statistics)
        self.conv2 = Conv3x3(out_channels, out_channels)
        self.shortcut = Conv1x1(in_channels, out_channels)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (B, I, H, W), y labels or class weights -> (B, O, 2H, 2W)."""
        h = self.conv1(F.relu(self.norm1(x, y)))
        h = self.conv2(F.relu(self.norm2(h, y)))
        return h + upsample(self.shortcut(x))


class DiscriminatorBlock(nn.Module):
    """ReLU-conv3x3-ReLU-conv3x3-pool plus conv1x1-pool (discriminator.py:29-62 there).

    The shortcut is the identity where neither channels nor size change. The first block of the
    network starts without a ReLU (discriminator.py:65-93). With `shortcut_relu` the other
    shortcuts start with one, the effect of an in-place ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        downsample: bool,
        first: bool = False,
        shortcut_relu: bool = False,
    ) -> None:
        super().__init__()
        self.first = first
        self.shortcut_relu = shortcut_relu
        self.downsample = downsample
        self.conv1 = Conv3x3(in_channels, out_channels)
        self.conv2 = Conv3x3(out_channels, out_channels, resample="down" if downsample else None)
        has_shortcut = downsample or in_channels != out_channels
        self.shortcut = Conv1x1(in_channels, out_channels) if has_shortcut else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, I, H, W) -> (B, O, H, W), or (B, O, H/2, W/2) with downsampling."""
        h = x if self.first else F.relu(x)  # not in place: the shortcut needs x
        shortcut = h if self.shortcut_relu else x
        h = self.conv2(F.relu(self.conv1(h)))
        shortcut = downsample(shortcut) if self.downsample else shortcut
        return h + (shortcut if self.shortcut is None else self.shortcut(shortcut))

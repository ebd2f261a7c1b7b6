"""`dataset-cnn`: the small classifier whose features score images of its own data set."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

FEATURE_DIM = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCnnConfig:
    """What decides the shape of the network."""

    resolution: int
    """Side of the images, pixels; a multiple of 32."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    num_classes: int
    """Number of outputs."""


class DatasetCnn(nn.Module):
    """Four convolutions or more, each with batch norm; the last one's mean is the feature vector.

    Whatever the resolution, the last convolution works on 4x4: more pixels add convolutions in
    front.
    """

    def __init__(self, config: DatasetCnnConfig) -> None:
        super().__init__()
        self.config = config
        layers = [_convolution(config.channels, 24, size=5, stride=2)]
        for _ in range((config.resolution // 32).bit_length() - 1):
            layers += [nn.MaxPool2d(2), _convolution(24, 24)]
        layers += [_convolution(24, 48), nn.MaxPool2d(2)]
        layers += [_convolution(48, 64), nn.MaxPool2d(2)]
        layers += [_convolution(64, FEATURE_DIM)]
        self.convolutions = nn.Sequential(*layers)
        self.classifier = nn.Linear(FEATURE_DIM, config.num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float (B, C, R, R) in [-1, 1] -> features (B, 64) >= 0 and logits (B, num_classes)."""
        x = self.convolutions(images.contiguous(memory_format=torch.channels_last))  # (B, 64, 4, 4)
        features = x.mean(dim=(2, 3))
        return features, self.classifier(features)

    def initialize(self, generator: torch.Generator) -> None:
        """Draws all weights anew (He et al. 2015, equation 10)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class _Convolution(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels, out_channels, size, stride, padding=size // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, S, S) -> (B, out, S / stride, S / stride)."""
        return F.relu(self.norm(self.convolution(x)))


def _convolution(in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> nn.Module:
    return _Convolution(in_channels, out_channels, size, stride)

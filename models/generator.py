"""The generator of the released SAGAN (brain-research/self-attention-gan generator.py:179-254)."""

from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from models.architecture import BOTTOM_SIZE, GeneratorConfig, channel_table, generator_sizes
from models.attention import SelfAttention
from models.blocks import GeneratorBlock
from models.initialization import initialize, spectral_norm_of
from models.layers import Conv3x3, Linear
from models.normalization import BatchNorm


class Generator(nn.Module):
    """Latents and labels to images."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        channels = [m * config.width for m in channel_table(config.resolution).g_channels]
        self._bottom_channels = channels[0]
        self.linear = Linear(config.z_dim, channels[0] * BOTTOM_SIZE**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(in_channels, out_channels, config.num_classes)
            for in_channels, out_channels in pairwise(channels)
        )
        self._sizes = generator_sizes(config.resolution)
        self.attention = nn.ModuleDict(
            {
                str(size): SelfAttention(channels[1 + self._sizes.index(size)])
                for size in config.attention
            }
        )
        self.norm = BatchNorm(channels[-1])
        self.to_image = Conv3x3(channels[-1], config.image_channels)
        self.spectral = spectral_norm_of(self) if config.spectral_norm else None

    def initialize(self, seed: torch.Generator) -> None:
        """Draws all weights anew."""
        initialize(self, self.spectral, seed)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """z (B, z_dim) float32, y (B,) int64 -> images (B, C, R, R) float32 in [-1, 1]."""
        return self._generate(z, y, None)

    @torch.no_grad()
    def attention_maps(
        self, z: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The images and, for each attention size s, maps (B, s, s, s/2, s/2) float32.

        `maps[s][b, i, j]` is where the query at row i, column j of the s x s features looks among
        the 2x2-pooled keys; it sums to 1.
        """
        maps: dict[int, torch.Tensor] = {}
        return self._generate(z, y, maps), maps

    def _generate(
        self, z: torch.Tensor, y: torch.Tensor, maps: dict[int, torch.Tensor] | None
    ) -> torch.Tensor:
        with self.spectral.applied() if self.spectral is not None else nullcontext():
            x = self.linear(z).view(-1, self._bottom_channels, BOTTOM_SIZE, BOTTOM_SIZE)
            x = x.to(self.compute_dtype, memory_format=torch.channels_last)
            for block, size in zip(self.blocks, self._sizes, strict=True):
                x = block(x, y)  # (B, C, size, size)
                if str(size) in self.attention:
                    x = self._attend(x, size, maps)
            x = F.relu(self.norm(x))
            return torch.tanh(self.to_image(x).float()).contiguous()

    def _attend(
        self, x: torch.Tensor, size: int, maps: dict[int, torch.Tensor] | None
    ) -> torch.Tensor:
        attention = self.attention[str(size)]
        assert isinstance(attention, SelfAttention)
        if maps is None:
            return attention(x)
        x, weights = attention.forward_with_map(x)
        maps[size] = weights.view(-1, size, size, size // 2, size // 2)
        return x

"""The projection discriminator of the released SAGAN (discriminator.py:170-243 there)."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from models.architecture import DiscriminatorConfig, channel_table, discriminator_sizes
from models.attention import SelfAttention
from models.blocks import DiscriminatorBlock
from models.initialization import initialize, spectral_norm_of
from models.layers import Embedding, Linear


class Discriminator(nn.Module):
    """Images and labels to logits: high for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        table = channel_table(config.resolution)
        channels = [config.image_channels, *(m * config.width for m in table.d_channels)]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(in_channels, out_channels, downsample, first=i == 0)
            for i, (in_channels, out_channels, downsample) in enumerate(
                zip(channels[:-1], channels[1:], table.d_downsample, strict=True)
            )
        )
        sizes = discriminator_sizes(config.resolution)
        after_block = {sizes.index(size): size for size in config.attention}
        self._attention_after = {i: str(size) for i, size in after_block.items()}
        self.attention = nn.ModuleDict(
            {str(size): SelfAttention(channels[1 + i]) for i, size in after_block.items()}
        )
        self.linear = Linear(channels[-1], 1)
        self.embedding = Embedding(config.num_classes, channels[-1])
        self.spectral = spectral_norm_of(self) if config.spectral_norm else None

    def initialize(self, seed: torch.Generator) -> None:
        """Draws all weights anew."""
        initialize(self, self.spectral, seed)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (B, C, R, R) float32 in [-1, 1], y (B,) int64 -> logits (B,) float32."""
        with self.spectral.applied() if self.spectral is not None else nullcontext():
            h = x.to(self.compute_dtype, memory_format=torch.channels_last)
            for i, block in enumerate(self.blocks):
                h = block(h)
                if i in self._attention_after:
                    h = self.attention[self._attention_after[i]](h)
            features = F.relu(h).float().sum(dim=(2, 3))  # (B, C)
            # projection: unconditional logit plus inner product with the class's vector
            return self.linear(features).squeeze(1) + (features * self.embedding(y)).sum(dim=1)

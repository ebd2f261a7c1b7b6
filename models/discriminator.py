"""The discriminator of the released SAGAN (discriminator.py:170-243 there).

Labels enter by projection (Miyato and Koyama 2018), or an auxiliary classifier predicts them
(AC-GAN, Odena et al. 2017).
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from models.architecture import channel_table, discriminator_sizes
from models.attention import ResidualControl, SelfAttention
from models.blocks import DiscriminatorBlock
from models.configuration import DiscriminatorConfig
from models.initialization import initialize, spectral_norm_of
from models.layers import Embedding, Linear, widen

DOutput = tuple[torch.Tensor, torch.Tensor | None]
"""Logits (B,), high for real, and class logits (B, K) of an auxiliary classifier, if any."""


class Discriminator(nn.Module):
    """Images and labels to logits: high for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        table = channel_table(config.resolution)
        channels = [config.image_channels, *(m * config.width for m in table.d_channels)]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(in_channels, out_channels, downsample, i == 0, config.shortcut_relu)
            for i, (in_channels, out_channels, downsample) in enumerate(
                zip(channels[:-1], channels[1:], table.d_downsample, strict=True)
            )
        )
        sizes = discriminator_sizes(config.resolution)
        after_block = {sizes.index(size): size for size in config.attention}
        self._attention_after = {i: str(size) for i, size in after_block.items()}
        block = SelfAttention if config.attention_block == "attention" else ResidualControl
        self.attention = nn.ModuleDict(
            {
                str(size): block(channels[1 + i], config.attention_form)
                for i, size in after_block.items()
            }
        )
        self.linear = Linear(channels[-1], 1)
        projects = config.conditioning == "projection"
        self.embedding = Embedding(config.num_classes, channels[-1]) if projects else None
        self.classifier = None if projects else Linear(channels[-1], config.num_classes)
        self.spectral = (
            spectral_norm_of(self, config.spectral_norm_eps) if config.spectral_norm else None
        )

    def initialize(self, seed: torch.Generator) -> None:
        """Draws all weights anew."""
        initialize(self, self.spectral, seed, self.config.initialization)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> DOutput:
        """x (B, C, R, R) float32 in [-1, 1], y (B,) int64 -> logits, all float32."""
        with self.spectral.applied() if self.spectral is not None else nullcontext():
            h = x.to(self.compute_dtype, memory_format=torch.channels_last)
            for i, block in enumerate(self.blocks):
                h = block(h)
                if i in self._attention_after:
                    h = self.attention[self._attention_after[i]](h)
            features = widen(F.relu(h)).sum(dim=(2, 3))  # (B, C)
            logits = self.linear(features).squeeze(1)
            if self.embedding is not None:  # plus the inner product with the class's vector
                logits = logits + (features * self.embedding(y)).sum(dim=1)
            return logits, None if self.classifier is None else self.classifier(features)

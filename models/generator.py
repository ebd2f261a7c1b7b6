"""The generator of the released SAGAN (brain-research/self-attention-gan generator.py:179-254)."""

from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from models.architecture import BOTTOM_SIZE, channel_table, generator_sizes
from models.attention import ResidualControl, SelfAttention
from models.blocks import GeneratorBlock
from models.configuration import GeneratorConfig
from models.initialization import initialize, spectral_norm_of
from models.layers import Conv3x3, Linear, widen
from models.normalization import BatchNorm, BatchStatistics


class Generator(nn.Module):
    """Latents and labels to images."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        statistics = BatchStatistics(
            scope=config.bn_statistics, ghost_batch=config.bn_ghost_batch, eps=config.bn_eps
        )
        channels = [m * config.width for m in channel_table(config.resolution).g_channels]
        self._bottom_channels = channels[0]
        self.linear = Linear(config.z_dim, channels[0] * BOTTOM_SIZE**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(in_channels, out_channels, config.num_classes, statistics)
            for in_channels, out_channels in pairwise(channels)
        )
        self._sizes = generator_sizes(config.resolution)
        block = SelfAttention if config.attention_block == "attention" else ResidualControl
        self.attention = nn.ModuleDict(
            {
                str(size): block(channels[1 + self._sizes.index(size)], config.attention_form)
                for size in config.attention
            }
        )
        self.norm = BatchNorm(channels[-1], statistics)
        self.to_image = Conv3x3(channels[-1], config.image_channels)
        self.spectral = (
            spectral_norm_of(self, config.spectral_norm_eps, config.cbn_spectral_norm)
            if config.spectral_norm
            else None
        )

    def initialize(self, seed: torch.Generator) -> None:
        """Draws all weights anew."""
        config = self.config
        initialize(self, self.spectral, seed, config.initialization, config.cbn_initialization)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """z (B, z_dim) float32, y (B,) int64 -> images (B, C, R, R) float32 in [-1, 1].

        y may also be weights of the classes (B, num_classes) float32, to interpolate them.
        """
        return self._generate(z, y, None)

    @torch.no_grad()
    def attention_maps(
        self, z: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The images and, for each attention size s, maps (B, s, s, k, k) float32.

        `maps[s][b, i, j]` holds the weights of the k x k keys for the query at row i, column j of
        the s x s features; they sum to 1. k is s/2 in the released form and s in the paper's.
        Residual control blocks have no maps.
        """
        maps: dict[int, torch.Tensor] = {}
        return self._generate(z, y, maps), maps

    def _generate(
        self, z: torch.Tensor, y: torch.Tensor, maps: dict[int, torch.Tensor] | None
    ) -> torch.Tensor:
        with self.spectral.applied() if self.spectral is not None else nullcontext():
            x = self.linear(z.to(self.linear.weight.dtype)).view(
                -1, self._bottom_channels, BOTTOM_SIZE, BOTTOM_SIZE
            )
            x = x.to(self.compute_dtype, memory_format=torch.channels_last)
            for block, size in zip(self.blocks, self._sizes, strict=True):
                x = block(x, y)  # (B, C, size, size)
                if str(size) in self.attention:
                    x = self._attend(x, size, maps)
            x = F.relu(self.norm(x))
            return torch.tanh(widen(self.to_image(x))).contiguous()

    def _attend(
        self, x: torch.Tensor, size: int, maps: dict[int, torch.Tensor] | None
    ) -> torch.Tensor:
        block = self.attention[str(size)]
        if maps is None or not isinstance(block, SelfAttention):
            return block(x)
        x, weights = block.forward_with_map(x)
        key_size = size // block.pool
        maps[size] = weights.view(-1, size, size, key_size, key_size)
        return x

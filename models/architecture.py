"""Channel tables of the released SAGAN networks and the feature sizes that follow from them.

Multiples are of the width: with width 64 they are the published channels. 128 pixels:
brain-research/self-attention-gan generator.py:199-217 and discriminator.py:189-197; 64 and 32:
PyTorch-StudioGAN resnet.py:66-85 and 261-284.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOTTOM_SIZE = 4  # side of the feature map that the generator's first linear layer makes


@dataclass(frozen=True, kw_only=True)
class ChannelTable:
    """Channel multiples of one resolution."""

    g_channels: tuple[int, ...]
    """At 4x4, then after each generator block; every block doubles the side."""
    d_channels: tuple[int, ...]
    """After each discriminator block."""
    d_downsample: tuple[bool, ...]
    """Whether each discriminator block halves the side."""


CHANNEL_TABLES: Mapping[int, ChannelTable] = {
    32: ChannelTable(
        g_channels=(4, 4, 4, 4),
        d_channels=(2, 2, 2, 2),
        d_downsample=(True, True, False, False),
    ),
    64: ChannelTable(
        g_channels=(16, 8, 4, 2, 1),
        d_channels=(1, 2, 4, 8, 16),
        d_downsample=(True, True, True, True, False),
    ),
    128: ChannelTable(
        g_channels=(16, 16, 8, 4, 2, 1),
        d_channels=(1, 2, 4, 8, 16, 16),
        d_downsample=(True, True, True, True, True, False),
    ),
}


def channel_table(resolution: int) -> ChannelTable:
    """The table of a resolution; raises ValueError naming the supported ones."""
    if resolution not in CHANNEL_TABLES:
        raise ValueError(
            f"resolution {resolution} is not supported; choose one of {sorted(CHANNEL_TABLES)}"
        )
    return CHANNEL_TABLES[resolution]


def generator_sizes(resolution: int) -> tuple[int, ...]:
    """Side of the feature map after each generator block."""
    num_blocks = len(channel_table(resolution).g_channels) - 1
    return tuple(BOTTOM_SIZE * 2 ** (i + 1) for i in range(num_blocks))


def discriminator_sizes(resolution: int) -> tuple[int, ...]:
    """Side of the feature map after each discriminator block."""
    sizes = []
    size = resolution
    for downsample in channel_table(resolution).d_downsample:
        size = size // 2 if downsample else size
        sizes.append(size)
    return tuple(sizes)


def shared_sizes(resolution: int) -> tuple[int, ...]:
    """Feature sizes that both networks have, ascending."""
    return tuple(sorted({*generator_sizes(resolution)} & {*discriminator_sizes(resolution)}))


def check_attention(network: str, attention: Sequence[int], sizes: Sequence[int]) -> None:
    """Raises ValueError for a feature size that the network does not have, or a repeated one."""
    available = sorted(set(sizes))
    for size in attention:
        if size not in available:
            raise ValueError(
                f"the {network} has no {size}x{size} features to attend to; "
                f"choose among {available}"
            )
    if len(set(attention)) != len(attention):
        raise ValueError(f"the {network}'s attention sizes {list(attention)} repeat one")

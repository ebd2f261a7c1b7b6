"""Exponential moving average of a generator's weights, with its half-life in images."""

import torch
from torch import nn


@torch.no_grad()
def update_ema(
    average: nn.Module, generator: nn.Module, num_images: int, halflife_nimg: float
) -> None:
    """Moves `average` towards `generator` by what `num_images` more images weigh.

    A half-life of 0 copies. Only weights are averaged. Vectors of spectral normalisation are
    copied, since an average of singular vectors is none; batch statistics are recomputed when the
    average is sampled.
    """
    decay = 0.5 ** (num_images / halflife_nimg) if halflife_nimg > 0 else 0.0
    torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - decay)
    for mine, theirs in zip(average.buffers(), generator.buffers(), strict=True):
        mine.copy_(theirs)

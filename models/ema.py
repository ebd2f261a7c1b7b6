"""Exponential moving average of a generator's weights, with its half-life in images."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def update_ema(
    average: nn.Module, generator: nn.Module, num_images: int, halflife_nimg: float
) -> None:
    """Updates `average` with the weights of `generator` after `num_images` more images.

    A half-life of 0 copies. Buffers are copied: an average of singular vectors is no singular
    vector, and batch statistics are recomputed when the average is sampled.
    """
    decay = 0.5 ** (num_images / halflife_nimg) if halflife_nimg > 0 else 0.0
    update = get_ema_multi_avg_fn(decay)
    update(list(average.parameters()), list(generator.parameters()), None)
    for averaged, current in zip(average.buffers(), generator.buffers(), strict=True):
        averaged.copy_(current)

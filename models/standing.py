"""Standing batch-normalisation statistics for the weights that are about to be sampled.

compare_gan and BigGAN call these standing statistics; moving averages of training would belong to
older weights, and for averaged weights to none.
"""

from collections.abc import Iterable

import torch
from torch import nn

from models.normalization import StandingNorm


@torch.no_grad()
def set_standing_statistics(
    generator: nn.Module, inputs: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Pools float64 moments of every normalised layer over batches of (z, y); ends in eval mode.

    Within a batch the layers normalise by that batch, as in training, so batches should have
    training's size.
    """
    norms = [m for m in generator.modules() if isinstance(m, StandingNorm)]
    moments = {norm: _Moments() for norm in norms}
    hooks = [norm.register_forward_pre_hook(moments[norm].add) for norm in norms]
    generator.train()
    for z, y in inputs:
        generator(z, y)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, var = moments[norm].mean_and_variance()
        norm.standing_mean.copy_(mean)
        norm.standing_var.copy_(var)
    generator.eval()


class _Moments:
    """Running sums of a layer's input over batch and space."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = torch.zeros(())
        self._sum_of_squares = torch.zeros(())

    def add(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].double()  # (B, C, H, W)
        self._count += x.numel() // x.shape[1]
        self._sum = self._sum.to(x.device) + x.sum(dim=(0, 2, 3))
        self._sum_of_squares = self._sum_of_squares.to(x.device) + x.square().sum(dim=(0, 2, 3))

    def mean_and_variance(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self._sum / self._count
        return mean, (self._sum_of_squares / self._count - mean.square()).clamp(min=0)

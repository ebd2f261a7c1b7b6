"""Batch normalisation, plain and class-conditional, with standing statistics for sampling.

In training mode the statistics are those of the batch; no moving average is kept, so a forward
pass changes no state. In evaluation mode they are standing statistics (the term of compare_gan and
BigGAN), which `set_standing_statistics` computes for the weights that are sampled; moving averages
would belong to the weights of earlier steps.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from models.batch_statistics import normalize_ghost, normalize_global
from models.spectral_norm import SpectralLayer


@dataclass(frozen=True, kw_only=True)
class BatchStatistics:
    """The images of a batch that share statistics."""

    scope: str = "global"
    """global, ghost or process."""
    ghost_batch: int = 64
    eps: float = 1e-5
    """1e-5 as released (brain-research/self-attention-gan ops.py:304-376)."""


class StandingNorm(nn.Module):
    """Normalises channels to mean 0 and variance 1 by batch or standing statistics.

    `synchronized` makes global statistics span the processes of the default group. It is off by
    default, so that one process can sample; distributed training turns it on.
    """

    standing_mean: torch.Tensor
    standing_var: torch.Tensor

    def __init__(self, num_channels: int, statistics: BatchStatistics) -> None:
        super().__init__()
        self.synchronized = False
        self._statistics = statistics
        self.register_buffer("standing_mean", torch.zeros(num_channels))
        self.register_buffer("standing_var", torch.ones(num_channels))

    def normalize(
        self, x: torch.Tensor, gain: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W); gain and bias are (C,), both or neither."""
        scope, eps = self._statistics.scope, self._statistics.eps
        if not self.training:
            return F.batch_norm(x, self.standing_mean, self.standing_var, gain, bias, eps=eps)
        if scope == "ghost":
            return normalize_ghost(x, self._statistics.ghost_batch, eps, gain, bias)
        if scope == "global" and self.synchronized:
            normal = normalize_global(x, eps)
            return normal if gain is None or bias is None else _scale(normal, gain, bias)
        return F.batch_norm(x, None, None, gain, bias, training=True, eps=eps)


class BatchNorm(StandingNorm):
    """Batch normalisation with one gain and bias for each channel."""

    def __init__(self, num_channels: int, statistics: BatchStatistics) -> None:
        super().__init__(num_channels, statistics)
        self.gain = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.normalize(x, self.gain, self.bias)


class ClassTable(SpectralLayer):
    """A vector for each class, or a mixture of them."""

    def __init__(self, num_classes: int, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_channels))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Labels (B,) int64, or weights of the classes (B, K) float, -> (B, C)."""
        table = self.effective_weight()
        return y.to(table.dtype) @ table if y.is_floating_point() else F.embedding(y, table)


class ConditionalBatchNorm(StandingNorm):
    """Batch normalisation with a gain and a bias for each class and channel.

    The gain is 1 + table. As released the tables start at 0 and are not spectrally normalised
    (ops.py:304-360 there; doing so cripples the generator, BigGAN-PyTorch BigGAN.py:132-134).
    """

    def __init__(self, num_classes: int, num_channels: int, statistics: BatchStatistics) -> None:
        super().__init__(num_channels, statistics)
        self.gain = ClassTable(num_classes, num_channels)
        self.bias = ClassTable(num_classes, num_channels)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W), y as `ClassTable` takes it -> (B, C, H, W)."""
        gain = (1 + self.gain(y))[:, None, None, :]  # (B, 1, 1, C)
        bias = self.bias(y)[:, None, None, :]
        return _scale(self.normalize(x), gain, bias)


def _scale(x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    # With channels last in the shape too, broadcasting runs along contiguous memory: 5x faster.
    x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
    return (x * gain.to(x.dtype) + bias.to(x.dtype)).permute(0, 3, 1, 2)


@torch.no_grad()
def set_standing_statistics(
    generator: nn.Module, inputs: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Sets the statistics of all layers over batches of (z, y), in float64; ends in eval mode.

    Layers normalise by each batch as in training, so batches should have the size of training's.
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

"""Initial weights; biases are always zero.

xavier: Glorot uniform, as released. orthogonal: as PyTorch-StudioGAN and BigGAN on ImageNet.
normal: N(0, 0.02), as DCGAN.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from models.normalization import ClassTable
from models.spectral_norm import SpectralLayer, SpectralNorm

Draw = Callable[[torch.Tensor, torch.Generator], object]

_DRAWS: Mapping[str, Draw] = {
    "xavier": lambda weight, seed: nn.init.xavier_uniform_(weight, generator=seed),
    "orthogonal": lambda weight, seed: nn.init.orthogonal_(weight, generator=seed),
    "normal": lambda weight, seed: nn.init.normal_(weight, std=0.02, generator=seed),
}


def initialize(
    network: nn.Module,
    spectral: SpectralNorm | None,
    seed: torch.Generator,
    method: str = "xavier",
    class_tables: str = "identity",
) -> None:
    """Draws all weights of `network` from `seed`, layer by layer.

    `class_tables` is identity (zeros: gain 1 and bias 0) or network (drawn like the other weights).
    """
    draw = _DRAWS[method]
    for layer in network.modules():
        if isinstance(layer, ClassTable) and class_tables == "identity":
            nn.init.zeros_(layer.weight)
        elif isinstance(layer, SpectralLayer):
            draw(layer.weight, seed)
            bias = getattr(layer, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)
    if spectral is not None:
        spectral.reset(seed)


def spectral_norm_of(network: nn.Module, eps: float, class_tables: bool = False) -> SpectralNorm:
    """Spectral normalisation of every convolution, linear map and embedding of `network`.

    The class tables of conditional batch normalisation are left out unless `class_tables` is set.
    """
    layers = [m for m in network.modules() if isinstance(m, SpectralLayer)]
    return SpectralNorm([m for m in layers if class_tables or not isinstance(m, ClassTable)], eps)

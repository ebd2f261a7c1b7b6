"""Initial weights: Glorot uniform for matrices and kernels, zero biases (as released)."""

import torch
from torch import nn

from models.spectral_norm import SpectralLayer, SpectralNorm


def initialize(network: nn.Module, spectral: SpectralNorm | None, seed: torch.Generator) -> None:
    """Draws all weights of `network` from `seed`, in the order of its layers."""
    for layer in network.modules():
        if isinstance(layer, SpectralLayer):
            nn.init.xavier_uniform_(layer.weight, generator=seed)
            bias = getattr(layer, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)
    if spectral is not None:
        spectral.reset(seed)


def spectral_norm_of(network: nn.Module) -> SpectralNorm:
    """Spectral normalisation of every convolution, linear map and embedding of `network`."""
    return SpectralNorm([m for m in network.modules() if isinstance(m, SpectralLayer)])

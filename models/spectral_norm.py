"""Spectral normalisation (Miyato et al. 2018, algorithm 1) of all layers of a network at once.

Weights W are divided by sigma = u^T W v, an estimate of their largest singular value. The vectors
u and v are constants to autograd (in the released SAGAN code gradients flow through them,
brain-research/self-attention-gan ops.py:125-175; both agree at convergence). `power_iteration`
updates them and runs once for each optimiser step; `applied` only reads them, so that a forward
pass never changes state. Layers whose matrices have one shape share batched matrix products.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-12

P = ParamSpec("P")
R = TypeVar("R")


def _outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Disables autocast: matrix products in bf16 are too coarse for a norm of 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return run


class SpectralLayer(nn.Module):
    """A layer whose `weight` spectral normalisation can replace.

    The matrix of a weight is its flattening to (weight.shape[0], -1).
    """

    weight: nn.Parameter
    spectral_u: torch.Tensor
    spectral_v: torch.Tensor
    normalized_weight: torch.Tensor | None = None

    def effective_weight(self) -> torch.Tensor:
        """The normalised weight inside `SpectralNorm.applied`, the plain one elsewhere."""
        return self.weight if self.normalized_weight is None else self.normalized_weight


class SpectralNorm:
    """The normalised layers of one network, grouped by the shape of their matrices.

    `eps` is the least length that a vector is divided by.
    """

    def __init__(self, layers: list[SpectralLayer], eps: float = EPS) -> None:
        self._eps = eps
        groups: dict[tuple[int, int], list[SpectralLayer]] = {}
        for layer in layers:
            rows, columns = layer.weight.flatten(1).shape
            layer.register_buffer("spectral_u", torch.zeros(rows))
            layer.register_buffer("spectral_v", torch.zeros(columns))
            groups.setdefault((rows, columns), []).append(layer)
        self._groups = list(groups.values())

    def reset(self, generator: torch.Generator, num_iterations: int = 15) -> None:
        """Draws u from a normal distribution and iterates until u and v nearly converge."""
        for layer in self._layers():
            u = torch.randn(layer.spectral_u.shape, generator=generator)
            layer.spectral_u.copy_(F.normalize(u, dim=0, eps=self._eps))
        self.power_iteration(num_iterations)

    @torch.no_grad()
    @_outside_autocast
    def power_iteration(self, num_iterations: int = 1) -> None:
        """One step of v <- W^T u / |W^T u|, u <- W v / |W v| (or several), in place."""
        for group in self._groups:
            W = _matrices(group)  # (L, R, C)
            u = torch.stack([layer.spectral_u for layer in group])  # (L, R)
            for _ in range(num_iterations):
                v = F.normalize(torch.einsum("lrc,lr->lc", W, u), dim=1, eps=self._eps)
                u = F.normalize(torch.einsum("lrc,lc->lr", W, v), dim=1, eps=self._eps)
            for i, layer in enumerate(group):
                layer.spectral_u.copy_(u[i])
                layer.spectral_v.copy_(v[i])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the layers compute with W / sigma; gradients flow to W."""
        self._normalize()
        try:
            yield
        finally:
            for layer in self._layers():
                layer.normalized_weight = None

    @torch.no_grad()
    def bake(self) -> None:
        """Replaces the weights by their normalised values, for a network that is only sampled."""
        with self.applied():
            for layer in self._layers():
                layer.weight.copy_(layer.effective_weight())

    @_outside_autocast
    def _normalize(self) -> None:
        for group in self._groups:
            W = _matrices(group)  # (L, R, C)
            u = torch.stack([layer.spectral_u for layer in group])
            v = torch.stack([layer.spectral_v for layer in group])
            sigma = torch.einsum("lr,lr->l", u, torch.einsum("lrc,lc->lr", W, v))
            normalized = W / sigma[:, None, None]
            for layer, weight in zip(group, normalized.unbind(), strict=True):
                layer.normalized_weight = weight.view(layer.weight.shape)

    def _layers(self) -> Iterator[SpectralLayer]:
        for group in self._groups:
            yield from group


def _matrices(group: list[SpectralLayer]) -> torch.Tensor:
    return torch.stack([layer.weight.flatten(1) for layer in group])

"""Our networks against the released ones written plainly: values and gradients.

Both have the same weights and singular vectors and run in training mode; the reference computes in
float64, ours in float64 (agreement to 1e-10) and in float32 (to 1e-5). The error is the root mean
square of the difference over the largest entry of the reference; for the gradients of weights over
the largest in their block, because those of biases before batch normalisation vanish.

Where float32 rounding switches a ReLU gradients jump, so gradients are compared with ELU
instead of ReLU in both networks. Values are compared with ReLU.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.discriminator import Discriminator
from models.generator import Generator
from models.spectral_norm import SpectralLayer
from tests.models import released

NUM_CLASSES = 7
Z_DIM = 12
SIZES = pytest.mark.parametrize(
    ("size", "width", "attention"),
    [(32, 16, (16,)), (64, 8, (32,)), (64, 8, (8, 32)), (128, 8, (64,)), (128, 8, (32,))],
    ids=str,
)
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-5)],
    ids=["float64", "float32"],
)
Run = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def _generator(size, width, attention, dtype) -> Generator:
    config = GeneratorConfig(
        resolution=size,
        image_channels=3,
        num_classes=NUM_CLASSES,
        width=width,
        z_dim=Z_DIM,
        attention=attention,
    )
    return _trained(Generator(config), dtype)


def _discriminator(size, width, attention, dtype) -> Discriminator:
    config = DiscriminatorConfig(
        resolution=size,
        image_channels=3,
        num_classes=NUM_CLASSES,
        width=width,
        attention=attention,
    )
    return _trained(Discriminator(config), dtype)


def _trained(network, dtype):
    """Weights as after some training: gamma, biases and class tables are not zero."""
    draws = torch.Generator().manual_seed(1)
    network.initialize(draws)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.7)
            elif name.endswith("bias") or ".norm" in name or name.startswith("norm."):
                parameter.add_(torch.randn(parameter.shape, generator=draws), alpha=0.2)
    network.spectral.power_iteration()
    network.compute_dtype = dtype
    return network.to(dtype)


def _copy(ours: nn.Module, reference: nn.Module) -> dict[str, str]:
    """Copies every weight and singular vector by name; returns our name of each parameter."""
    reference.double()
    names = {}
    state = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            mine = name.replace("parametrizations.weight.original", "weight")
            mine = "norm.gain" if mine == "norm.weight" else mine
            parameter.copy_(state[mine])
            if mine.endswith("gain.weight"):  # there the tables of gains start at 1
                parameter.add_(1)
            names[name] = mine
        for name, layer in ours.named_modules():
            if isinstance(layer, SpectralLayer) and hasattr(layer, "spectral_u"):
                norm = reference.get_submodule(name).parametrizations.weight[0]
                norm._u.copy_(layer.spectral_u)
                norm._v.copy_(layer.spectral_v)
                norm.eval()  # no power iteration: ours updates vectors at optimiser steps only
    assert sorted(names.values()) == sorted(state)
    return names


def _check(actual: torch.Tensor, expected: torch.Tensor, bound: float, name: str) -> None:
    assert actual.shape == expected.shape
    error = (actual - expected).square().mean().sqrt().item()
    assert error <= bound, f"{name} differs by {error:.2e} > {bound:.2e}"


def _largest(x: torch.Tensor) -> float:
    return x.abs().max().item()


def _block(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("blocks", "attention") else parts[0]


def _gradients(network: nn.Module, run: Run, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    out = run(network, x)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * seed.to(out.dtype)).sum().backward()
    parameters = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {**parameters, "input": x.grad}


def _compare(ours, reference, run: Run, x: torch.Tensor, tolerance: float, smooth) -> None:
    """`x` in our dtype; `smooth` is called before gradients are taken."""
    names = {**_copy(ours, reference), "input": "input"}
    with torch.no_grad():
        expected = run(reference, x.double())
        _check(run(ours, x), expected, tolerance * _largest(expected), "output")
    smooth()
    actual = _gradients(ours, run, x)
    gradients = _gradients(reference, run, x.double())
    scales: dict[str, float] = {}
    for name, gradient in gradients.items():
        scales[_block(name)] = max(scales.get(_block(name), 0.0), _largest(gradient))
    for name, gradient in gradients.items():
        _check(actual[names[name]], gradient, tolerance * scales[_block(name)], name)


@pytest.fixture
def smooth(monkeypatch, dtype):
    """In float32, replaces ReLU by ELU."""
    if dtype == torch.float64:
        return lambda: None
    return lambda: monkeypatch.setattr(F, "relu", F.elu)


@DTYPES
@SIZES
def test_generator(size, width, attention, dtype, tolerance, smooth):
    ours = _generator(size, width, attention, dtype)
    reference = released.Generator(size, NUM_CLASSES, width, Z_DIM, attention)
    y = torch.tensor([6, 0])
    z = torch.randn(len(y), Z_DIM, generator=torch.Generator().manual_seed(3)).to(dtype)
    _compare(ours, reference, lambda G, z: G(z, y), z, tolerance, smooth)


@DTYPES
@SIZES
def test_discriminator(size, width, attention, dtype, tolerance, smooth):
    ours = _discriminator(size, width, attention, dtype)
    reference = released.Discriminator(size, NUM_CLASSES, width, attention)
    draws = torch.Generator().manual_seed(3)
    x = (2 * torch.rand(2, 3, size, size, generator=draws) - 1).to(dtype)
    y = torch.tensor([6, 0])

    def logits(D: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return D(x, y)[0] if D is ours else D(x, y)

    _compare(ours, reference, logits, x, tolerance, smooth)


def test_detects_a_small_difference():
    """One part in 1e8 of attention's share."""
    ours = _generator(32, 16, (16,), torch.float64)
    reference = released.Generator(32, NUM_CLASSES, 16, Z_DIM, (16,))
    _copy(ours, reference)
    with torch.no_grad():
        reference.attention["16"].gamma.mul_(1 + 1e-8)
    z = torch.randn(2, Z_DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = torch.tensor([6, 0])
    expected = reference(z, y)
    with pytest.raises(AssertionError, match="output"):
        _check(ours(z, y), expected, 1e-10 * _largest(expected), "output")

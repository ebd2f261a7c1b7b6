"""Weights of exported models."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def weights(model: Path, name: str = "generator") -> dict[str, torch.Tensor]:
    """The tensors of `generator` or `generator-raw`."""
    return load_file(model / f"{name}.safetensors")


def assert_equal_weights(a: Path, b: Path) -> None:
    """Asserts that the tensors of two exported models are equal to the bit."""
    for name in ("generator", "generator-raw"):
        first, second = weights(a, name), weights(b, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)

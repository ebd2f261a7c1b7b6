"""Conversion between stored uint8 images and the float images of the networks."""

import torch


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 (B, H, W, C) in [0, 255] -> float32 (B, C, H, W) in [-1, 1], channels last."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float (B, C, H, W) in [-1, 1] -> uint8 (B, C, H, W) in [0, 255], rounded to nearest."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)

"""Random draws as pure functions of (seed, purpose, nimg): no generator state is ever saved.

Draws are made on the CPU, so that they are the same for every device.
"""

import hashlib

import torch


def generator_at(seed: int, purpose: str, nimg: int = 0) -> torch.Generator:
    """A CPU generator that depends on its arguments alone."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{nimg}".encode(), digest_size=8).digest()
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)  # non-negative int64
    return generator


def draw_inputs(
    generator: torch.Generator, count: int, z_dim: int, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal latents (count, z_dim) float32 and uniform labels (count,) int64."""
    z = torch.randn(count, z_dim, generator=generator)
    y = torch.randint(num_classes, (count,), generator=generator)
    return z, y

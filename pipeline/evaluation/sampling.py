"""Draws the generated images that are scored."""

from collections.abc import Iterator

import torch

from pipeline.errors import UserError
from pipeline.generator import SnapshotGenerator
from pipeline.images import to_uint8
from pipeline.training.randomness import generator_at

BATCH = 100  # more are no faster on a CPU and fill the memory at full width


def draw_labels(seed: int, count: int, num_classes: int) -> torch.Tensor:
    """Labels (count,) int64, each class equally often in every run of `num_classes` labels.

    A random permutation of the classes follows the other, so any stretch is nearly balanced; the
    last one is cut where `count` ends.
    """
    num_rounds = -(-count // num_classes)
    draws = torch.rand(num_rounds, num_classes, generator=generator_at(seed, "evaluate-labels"))
    return draws.argsort(dim=1, stable=True).flatten()[:count]


def draw_latents(seed: int, count: int, z_dim: int) -> torch.Tensor:
    """Standard normal latents (count, z_dim) float32, one image's whatever batch it falls in."""
    return torch.randn(count, z_dim, generator=generator_at(seed, "evaluate-latents"))


def describe_labels(count: int, num_classes: int) -> str:
    """How often `draw_labels` takes each class, for the protocol."""
    each, rest = divmod(count, num_classes)
    more = f", {rest} classes once more" if rest else ""
    return f"uniform: each of {num_classes} classes {each} times{more}"


@torch.inference_mode()
def generate(
    G: SnapshotGenerator, z: torch.Tensor, y: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images uint8 (B, C, R, R) and labels int64 (B,) of z (N, z_dim) and y (N,).

    Raises UserError when the generator gives values that are not finite.
    """
    device = next(G.parameters()).device
    for latents, labels in zip(z.split(BATCH), y.split(BATCH), strict=True):
        images = G(latents.to(device), labels.to(device))
        if not images.isfinite().all():
            weights = "EMA" if G.metadata["ema"] else "raw"
            raise UserError(
                f"the {weights} generator at {G.metadata['nimg']} images gives values that are not "
                "finite: its training diverged; lower train.g_lr and train.d_lr"
            )
        yield to_uint8(images), labels

"""Draws the generated images that are scored."""

from dataclasses import dataclass

import torch

from models.generator import Generator
from pipeline.core.errors import UserError
from pipeline.core.images import to_uint8
from pipeline.core.randomness import generator_at

BLOCK = 100  # more are no faster on a CPU and fill the memory at full width


def draw_labels(seed: int, count: int, num_classes: int) -> torch.Tensor:
    """Labels (count,) int64, each class equally often in every run of `num_classes` labels.

    A random permutation of the classes follows the other, so any stretch is nearly balanced; the
    last one is cut where `count` ends.
    """
    num_rounds = -(-count // num_classes)
    draws = torch.rand(num_rounds, num_classes, generator=generator_at(seed, "evaluate-labels"))
    return draws.argsort(dim=1, stable=True).flatten()[:count]


def draw_latents(seed: int, count: int, z_dim: int) -> torch.Tensor:
    """Standard normal latents (count, z_dim) float32, independent of the batch size."""
    return torch.randn(count, z_dim, generator=generator_at(seed, "evaluate-latents"))


def describe_labels(count: int, num_classes: int) -> str:
    """Counts of the classes in `draw_labels`, for the protocol."""
    each, rest = divmod(count, num_classes)
    more = f", {rest} classes once more" if rest else ""
    return f"uniform: each of {num_classes} classes {each} times{more}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The inputs of all images of an evaluation."""

    seed: int
    """Of latents and labels."""
    z: torch.Tensor
    """Latents (N, z_dim) float32."""
    y: torch.Tensor
    """Labels (N,) int64."""

    def name(self, index: int) -> str:
        """Name of image `index` for messages."""
        return f"generated image {index} (label {self.y[index]}, seed {self.seed})"


def draw(seed: int, count: int, z_dim: int, num_classes: int) -> Draw:
    """The inputs of `count` images, a pure function of its arguments."""
    return Draw(
        seed=seed, z=draw_latents(seed, count, z_dim), y=draw_labels(seed, count, num_classes)
    )


@torch.inference_mode()
def generate(G: Generator, inputs: Draw, rows: range, name: str) -> torch.Tensor:
    """Images uint8 (B, C, R, R) of these rows of the inputs; `name` is the generator's.

    Raises UserError when the generator gives values that are not finite.
    """
    device = next(G.parameters()).device
    part = slice(rows.start, rows.stop)
    images = G(inputs.z[part].to(device), inputs.y[part].to(device))
    if not images.isfinite().all():
        first = int(images.isfinite().flatten(1).all(dim=1).int().argmin())
        raise UserError(
            f"the {name} gives values that are not finite, first in "
            f"{inputs.name(rows.start + first)}: its training diverged; lower train.g_lr and "
            "train.d_lr"
        )
    return to_uint8(images)

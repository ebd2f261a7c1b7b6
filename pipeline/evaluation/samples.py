"""Sample pictures: grids by class, and attention maps of a few images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.generator import Generator
from pipeline.core.images import to_uint8
from pipeline.core.randomness import draw_inputs, generator_at
from pipeline.storage.atomic import atomic_write
from pipeline.training.generator import SnapshotGenerator

GRID_FILE = "class_grid.png"
ATTENTION_FILE = "attention.npz"
MAX_ROWS = 16
PROGRESS_COLUMNS = 8
_COLUMNS = 10
_MAX_ATTENTION_SAMPLES = 16
_MAX_MAPS_BYTES = 2**26


def write_samples(folder: Path, G: SnapshotGenerator, seed: int) -> None:
    """Writes `class_grid.png` and `attention.npz`, pure functions of generator and seed.

    The grid has a row of 10 for each class, or for 16 classes evenly spread over more. The archive
    holds `images` uint8 [N, H, W, C], `labels` int64 [N], `class_names` and, for each attention
    size s, `maps_<s>` float32 [N, s, s, k, k] over k x k keys.
    """
    y = _choose_labels(G.num_classes, min(G.num_classes, MAX_ROWS))
    y = y.repeat_interleave(_COLUMNS)
    images = to_uint8(G(*_inputs(G, seed, "class-grid", y)))
    with atomic_write(folder / GRID_FILE) as temporary:
        tile(images.cpu().numpy(), _COLUMNS).save(temporary, format="PNG")

    y = _choose_labels(G.num_classes, _num_attention_samples(G))
    images, maps = G.attention_maps(*_inputs(G, seed, "attention", y))
    arrays: dict[str, Any] = {
        f"maps_{size}": weights.float().cpu().numpy() for size, weights in maps.items()
    }
    with atomic_write(folder / ATTENTION_FILE) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            images=to_uint8(images).permute(0, 2, 3, 1).cpu().numpy(),
            labels=y.numpy(),
            class_names=np.array(G.class_names),
            **arrays,
        )


@torch.no_grad()
def write_sample_grid(path: Path, G: Generator, seed: int) -> None:
    """Writes a PNG that shows a generator over training time: fixed latents, a row a class.

    It has 8 samples for each class, or for 16 classes evenly spread over more.
    """
    num_rows = min(G.config.num_classes, MAX_ROWS)
    classes = torch.linspace(0, G.config.num_classes - 1, num_rows).round().long()
    y = classes.repeat_interleave(PROGRESS_COLUMNS)
    z, _ = draw_inputs(generator_at(seed, "sample-grid"), len(y), G.config.z_dim, 1)
    device = next(G.parameters()).device
    images = to_uint8(G(z.to(device), y.to(device))).cpu().numpy()  # (rows 8, C, R, R)
    with atomic_write(path) as temporary:
        tile(images, PROGRESS_COLUMNS).save(temporary, format="PNG")


def tile(images: np.ndarray, columns: int) -> Image.Image:
    """uint8 images (N, C, R, R), N a multiple of `columns`, as one picture read row by row."""
    N, C, R, _ = images.shape
    grid = images.reshape(N // columns, columns, C, R, R).transpose(0, 3, 1, 4, 2)
    grid = grid.reshape(N // columns * R, columns * R, C)
    return Image.fromarray(grid[:, :, 0] if C == 1 else grid)


def _choose_labels(num_classes: int, count: int) -> torch.Tensor:
    """`count` labels evenly spread over more classes, or going round fewer."""
    if count <= num_classes:
        return torch.linspace(0, num_classes - 1, count).round().long()
    return torch.arange(count) % num_classes


def _inputs(
    G: SnapshotGenerator, seed: int, purpose: str, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    z, _ = draw_inputs(generator_at(seed, purpose), len(y), G.z_dim, G.num_classes)
    device = next(G.parameters()).device
    return z.to(device), y.to(device)


def _num_attention_samples(G: SnapshotGenerator) -> int:
    pooling = 4 if G.config.attention_form == "released" else 1
    map_bytes = sum(4 * size**4 // pooling for size in G.config.attention)  # float32
    return min(_MAX_ATTENTION_SAMPLES, max(1, _MAX_MAPS_BYTES // max(1, map_bytes)))

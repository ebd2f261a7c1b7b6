"""The picture that shows a generator over training time: a row a class, fixed latents."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.generator import Generator
from pipeline.core.images import to_uint8
from pipeline.core.randomness import draw_inputs, generator_at
from pipeline.storage.atomic import atomic_write

COLUMNS = 8
MAX_ROWS = 16


@torch.no_grad()
def write_sample_grid(path: Path, G: Generator, seed: int) -> None:
    """Writes a PNG of 8 samples for each class, or for 16 classes evenly spread over more."""
    num_rows = min(G.config.num_classes, MAX_ROWS)
    classes = torch.linspace(0, G.config.num_classes - 1, num_rows).round().long()
    y = classes.repeat_interleave(COLUMNS)
    z, _ = draw_inputs(generator_at(seed, "sample-grid"), len(y), G.config.z_dim, 1)
    device = next(G.parameters()).device
    images = to_uint8(G(z.to(device), y.to(device))).cpu().numpy()  # (rows 8, C, R, R)
    with atomic_write(path) as temporary:
        tile(images, COLUMNS).save(temporary, format="PNG")


def tile(images: np.ndarray, columns: int) -> Image.Image:
    """uint8 images (N, C, R, R), N a multiple of `columns`, as one picture read row by row."""
    N, C, R, _ = images.shape
    grid = images.reshape(N // columns, columns, C, R, R).transpose(0, 3, 1, 4, 2)
    grid = grid.reshape(N // columns * R, columns * R, C)
    return Image.fromarray(grid[:, :, 0] if C == 1 else grid)

"""Images that are like photographs: coarse and fine structure, and noise."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def photograph(width: int, height: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for size in (4, 16, 64, 256):
        shape = (max(2, height // size), max(2, width // size))
        for channel in range(3):
            coarse = Image.fromarray(random.normal(size=shape).astype(np.float32))
            smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
            pixels[..., channel] += np.asarray(smooth) * size**0.5
    pixels = (pixels - pixels.mean()) / pixels.std() * 55 + 120
    return np.clip(pixels + random.normal(size=pixels.shape) * 2, 0, 255).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """A file's content."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()

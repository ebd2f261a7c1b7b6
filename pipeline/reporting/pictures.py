"""Images as parts of a self-contained page."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One PNG in the page."""

    uri: str
    """`data:` address that holds the file."""
    width: int
    """Pixels."""
    height: int
    alt: str
    """What it shows, for who cannot see it."""


def picture(image: Image.Image, alt: str) -> Picture:
    """Encodes an image without loss."""
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(
        uri=f"data:image/png;base64,{encoded}", width=image.width, height=image.height, alt=alt
    )


def from_array(image: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 [H, W, C], C 1 or 3, as an image."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def strip(images: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 [N, H, W, C] side by side."""
    return from_array(np.concatenate(list(images), axis=1))

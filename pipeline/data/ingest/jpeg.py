"""The fast way from a JPEG file to a square: libjpeg-turbo's full decoding, torch's resizing.

Twice as fast as Pillow at the same quality: within a level of it everywhere. Decoding at a reduced
scale would be faster still, and 22 dB further from the truth.
"""

import threading

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.data.ingest.preprocessing import Recipe
from pipeline.data.ingest.square import shrink

_TARGET = {1: "GRAY", 3: "RGB"}
_CONVERTIBLE = ("YCbCr", "RGB", "Gray")  # not CMYK and YCCK: their inversion is Pillow's to know
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4
_EXIF = b"Exif\x00\x00"
_MAX_KEPT_BYTES = 1 << 26


class _Scratch(threading.local):
    """Memory that is written again and again: new memory would cost a third of all time."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """uint8 [size], of any content."""
        if size > _MAX_KEPT_BYTES:
            return np.empty(size, np.uint8)
        if size > len(self._kept):
            self._kept = np.empty(size, np.uint8)
        return self._kept[:size]


_scratch = _Scratch()


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height as stored; None where the header is not one that `jpeg_square` takes."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return None
    return (width, height) if colorspace in _CONVERTIBLE else None


def jpeg_square(content: bytes, recipe: Recipe, key: str) -> npt.NDArray[np.uint8]:
    """uint8 [resolution, resolution, channels]; raises ValueError for what Pillow should look at.

    That is every flaw: Pillow knows which ones leave an image whole.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(content)
    buffer = _scratch.take(height * width * recipe.channels)
    pixels = simplejpeg.decode_jpeg(content, _TARGET[recipe.channels], buffer=buffer)
    pixels = _upright(pixels, _orientation(content))
    height, width = pixels.shape[:2]
    left, top = recipe.corner(width, height, key)
    side = min(width, height)
    square = pixels[top : top + side, left : left + side]
    if min(square.strides) < 0:  # mirrored; torch has no such tensors
        square = square.copy()
    if recipe.resize != "bicubic":
        return shrink(
            Image.fromarray(square.squeeze(-1) if recipe.channels == 1 else square), recipe
        )
    image = torch.from_numpy(square).permute(2, 0, 1).unsqueeze(0)  # (1, C, H, W), channels last
    R = recipe.resolution
    image = F.interpolate(image, (R, R), mode="bicubic", antialias=True, align_corners=False)
    return image[0].permute(1, 2, 0).numpy()


def _orientation(content: bytes) -> int:
    """EXIF's orientation, 1 to 8; raises ValueError for EXIF that cannot be read."""
    position = 2
    while content[position : position + 1] == b"\xff":
        marker = content[position + 1]
        size = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + size]
        if marker == 0xE1 and segment.startswith(_EXIF):
            exif = Image.Exif()
            try:
                exif.load(segment)
                return int(exif.get(_ORIENTATION, 1))
            except Exception as error:  # Pillow's parser fails in more ways than it says
                raise ValueError(f"unreadable EXIF: {error}") from None
        if marker == 0xDA or size < 2:  # the pixels begin
            break
        position += 2 + size
    return 1


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """[H, W, C] turned and mirrored as EXIF's orientation asks; a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels

"""Image files of any format as squares of uint8 pixels, decoded and resized by Pillow."""

import functools
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

VERSIONS = {name: version(name) for name in ("pillow", "numpy")}
"""Versions of the libraries that compute the pixels."""

MAX_PIXELS = 178_956_970
"""Larger images are rejected as decompression bombs; Pillow's own limit."""

PILLOW_MODE = {1: "L", 3: "RGB"}

_CROPS = {
    "center": "the largest square, from the middle",
    "long-edge": "the largest square, where along the long edge a hash of the key says",
}
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
# No format whose decoder starts another program, as that of EPS does.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
# All errors of Pillow's decoders on damaged files.
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_MAX_REASON = 200
_ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4
_ARRAY_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class UndecodableError(Exception):
    """An image cannot be used; the message is the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How an image becomes a square of `resolution` x `resolution` pixels."""

    resolution: int
    """Side, pixels."""
    channels: int
    """1 (luma) or 3 (RGB)."""
    resize: Literal["bicubic", "lanczos", "box"] = "bicubic"
    """Filter, widened for antialiasing when it shrinks."""
    crop: Literal["center", "long-edge"] = "center"
    """Position of the square; images are neither distorted nor padded."""
    background: str = "white"
    """Colour behind transparent pixels: white, black or #rrggbb."""

    def describe(self) -> dict[str, Any]:
        """For the manifest, where it belongs to the data set's identity."""
        return {
            "crop": _CROPS[self.crop],
            "resize": f"{self.resize}, antialiased, on 8-bit values",
            "orientation": "as EXIF says",
            "transparency": f"over {self.background}",
            "colour profiles": "not applied",
        }

    def corner(self, width: int, height: int, key: str) -> tuple[int, int]:
        """Left and top of the square of side min(width, height)."""
        slack = abs(width - height)
        if self.crop == "center":
            offset = slack // 2
        else:
            digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"sagan-crop").digest()
            offset = int.from_bytes(digest, "big") % (slack + 1)
        return (offset, 0) if width > height else (0, offset)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size and mode of an image that is not decoded yet."""

    width: int
    """Pixels, after EXIF's orientation."""
    height: int
    mode: str
    """Pillow's name of the pixel format: L, RGB, RGBA, P, CMYK, ..."""


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """Turns Pillow's warning of a decompression bomb into an error and ignores its others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(
    raw: bytes | npt.NDArray[np.uint8], preprocessing: Preprocessing, key: str
) -> tuple[npt.NDArray[np.uint8], int]:
    """A file's content, or pixels [H, W] or [H, W, 3], as uint8 [resolution, resolution, channels].

    The number is the original's shorter side. Raises UndecodableError.
    """
    with _reasons(raw), _open(raw) as image:
        return to_square(image, preprocessing, key), min(image.size)


def read_header(raw: bytes | npt.NDArray[np.uint8]) -> ImageHeader:
    """Size and mode of what `decode` takes, without decoding it; raises UndecodableError."""
    if not isinstance(raw, bytes):
        height, width, *channels = raw.shape
        return ImageHeader(width, height, _ARRAY_MODES[channels[0] if channels else 1])
    with _reasons(raw), _open(raw) as image:
        width, height = image.size
        # Not of squares: Pillow decodes the whole of a PNG file to find its EXIF.
        if width != height and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        return ImageHeader(width, height, image.mode)


def to_square(
    image: Image.Image, preprocessing: Preprocessing, key: str = ""
) -> npt.NDArray[np.uint8]:
    """uint8 [resolution, resolution, channels]; raises ValueError for 32-bit pixels.

    Colour becomes luma (ITU-R 601) for one channel, grey is repeated for three. Of an animation it
    is the first frame. `image` is turned upright in place.
    """
    R, C = preprocessing.resolution, preprocessing.channels
    ImageOps.exif_transpose(image, in_place=True)
    image = _over_background(_to_eight_bits(image), preprocessing.background)
    if image.mode != PILLOW_MODE[C]:
        image = image.convert(PILLOW_MODE[C])
    left, top = preprocessing.corner(*image.size, key)
    side = min(image.size)
    # Cropped first: `resize(box=...)` would mix in pixels from outside of the square.
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((R, R), _FILTERS[preprocessing.resize])).reshape(R, R, C)


@contextmanager
def _open(raw: bytes | npt.NDArray[np.uint8]) -> Iterator[Image.Image]:
    if not isinstance(raw, bytes):
        yield Image.fromarray(raw)
        return
    if not raw:
        raise UndecodableError("an empty file")
    with Image.open(io.BytesIO(raw), formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        yield image


@contextmanager
def _reasons(raw: bytes | npt.NDArray[np.uint8]) -> Iterator[None]:
    """Turns any error of decoding into an UndecodableError."""
    try:
        yield
    except UnidentifiedImageError:
        assert isinstance(raw, bytes)
        raise UndecodableError(f"no known image format; it begins with {raw[:16]!r}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UndecodableError(f"a decompression bomb: more than {MAX_PIXELS} pixels") from None
    except _DECODE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UndecodableError(reason[:_MAX_REASON]) from None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255; here the full range maps to the full range.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed white; save it with 8 or 16 bits")
    return image


def _over_background(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    # Before resizing: colours hidden under full transparency must not bleed in.
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # AVIF is not in every build

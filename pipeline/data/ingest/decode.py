"""One image, as its source holds it, becomes a square; or the reason why not."""

import functools
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from pipeline.data.ingest.preprocessing import Recipe
from pipeline.data.ingest.square import to_square

MAX_PIXELS = 178_956_970
"""Above it an image is taken for a decompression bomb; Pillow's own limit."""

# No format whose decoder starts another program, as that of EPS does.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Every way in which Pillow's decoders fail on damaged bytes.
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


@dataclass(frozen=True, slots=True)
class Look:
    """What an image is before it is decoded."""

    width: int
    """Pixels, upright as EXIF says."""
    height: int
    mode: str
    """Pillow's name of its pixels: L, RGB, RGBA, P, CMYK, ..."""


class UndecodableError(Exception):
    """An image cannot become a square; its message is the reason."""


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """While many images are decoded: Pillow's warning of a bomb is an error, others are dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(
    raw: bytes | npt.NDArray[np.uint8], recipe: Recipe, key: str
) -> tuple[npt.NDArray[np.uint8], int]:
    """A file's content, or pixels [H, W] or [H, W, 3], as uint8 [resolution, resolution, channels].

    The number is the original's shorter side. Raises UndecodableError.
    """
    with _reasons(raw):
        if isinstance(raw, bytes):
            return _decode_file(raw, recipe, key)
        return to_square(Image.fromarray(raw), recipe, key), min(raw.shape[:2])


def look(raw: bytes | npt.NDArray[np.uint8]) -> Look:
    """The size and mode of what `decode` takes, by the header alone; raises UndecodableError."""
    with _reasons(raw):
        if not isinstance(raw, bytes):
            height, width, *channels = raw.shape
            return Look(width, height, _ARRAY_MODES[channels[0] if channels else 1])
        if not raw:
            raise UndecodableError("an empty file")
        with Image.open(io.BytesIO(raw), formats=_formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError
            # Not of squares: Pillow decodes the whole of a PNG file to look for its EXIF.
            if width != height and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            return Look(width, height, image.mode)


@contextmanager
def _reasons(raw: bytes | npt.NDArray[np.uint8]) -> Iterator[None]:
    """Turns whatever goes wrong with the image's bytes into an UndecodableError."""
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


def _decode_file(content: bytes, recipe: Recipe, key: str) -> tuple[npt.NDArray[np.uint8], int]:
    if not content:
        raise UndecodableError("an empty file")
    if content[:3] == b"\xff\xd8\xff":
        # Here, not above: data sets without JPEG files need not wait for torch.
        from pipeline.data.ingest.jpeg import jpeg_size, jpeg_square

        size = jpeg_size(content)
        if size is not None:
            if size[0] * size[1] > MAX_PIXELS:
                raise Image.DecompressionBombError
            try:
                return jpeg_square(content, recipe, key), min(size)
            except ValueError:
                pass  # Pillow tells flaws that cost pixels from others
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        return to_square(image, recipe, key), min(image.size)


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # AVIF is not in every build

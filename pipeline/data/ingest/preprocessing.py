"""What is done to every image on its way into the shards."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

# Not from the modules: torch takes seconds to import, and resizes the pixels of JPEG files alone.
VERSIONS = {name: version(name) for name in ("pillow", "numpy", "simplejpeg", "torch")}
"""The libraries whose arithmetic it is."""

_CROPS = {
    "center": "the largest square, from the middle",
    "long-edge": "the largest square, where along the long edge a hash of the key says",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How any image becomes a square of `resolution` x `resolution` pixels."""

    resolution: int
    """Side, pixels."""
    channels: int
    """1 (luma) or 3 (RGB)."""
    resize: Literal["bicubic", "lanczos", "box"] = "bicubic"
    """Filter, widened for antialiasing when it shrinks."""
    crop: Literal["center", "long-edge"] = "center"
    """Where the square is taken from; nothing is ever distorted or padded."""
    background: str = "white"
    """What is seen through transparent pixels: white, black or #rrggbb."""

    def describe(self) -> dict[str, Any]:
        """For the manifest; it belongs to the data set's identity."""
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

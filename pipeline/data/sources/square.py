"""Any decoded image as a square of uint8 pixels."""

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps

RECIPE = {
    "crop": "largest centred square",
    "resize": "Pillow bicubic, antialiased, on 8-bit values",
    "orientation": "as EXIF says",
    "transparency": "over white",
}
"""What `to_square` does, for the manifest; it belongs to the data set's identity."""

VERSIONS = {"pillow": PIL.__version__, "numpy": np.__version__}
"""The libraries whose arithmetic it is."""

_PILLOW_MODE = {1: "L", 3: "RGB"}


def to_square(image: Image.Image, resolution: int, channels: int) -> npt.NDArray[np.uint8]:
    """uint8 [resolution, resolution, channels]; raises ValueError for pixels without a known white.

    Colour becomes luma (ITU-R 601) where one channel is asked for, grey is repeated for three.
    """
    image = _to_eight_bits(ImageOps.exif_transpose(image))
    image = _on_white(image).convert(_PILLOW_MODE[channels])
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((resolution, resolution), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(resolution, resolution, channels)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255; the full range maps to the full range here.
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no fixed white; save it with 8 or 16 bits")
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    # Over white before resizing: colours hidden under full transparency must not bleed in.
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)

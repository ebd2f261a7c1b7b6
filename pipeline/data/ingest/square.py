"""Any image that Pillow opens as a square of uint8 pixels."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.data.ingest.preprocessing import Recipe

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
PILLOW_MODE = {1: "L", 3: "RGB"}


def to_square(image: Image.Image, recipe: Recipe, key: str = "") -> npt.NDArray[np.uint8]:
    """uint8 [resolution, resolution, channels]; raises ValueError for pixels without a known white.

    Colour becomes luma (ITU-R 601) where one channel is asked for, grey is repeated for three. Of
    an animation it is the first picture.
    """
    image = _to_eight_bits(ImageOps.exif_transpose(image))
    image = _over_background(image, recipe.background).convert(PILLOW_MODE[recipe.channels])
    return shrink(crop(image, recipe, key), recipe)


def crop(image: Image.Image, recipe: Recipe, key: str) -> Image.Image:
    """The square that the recipe takes of an upright image."""
    left, top = recipe.corner(*image.size, key)
    side = min(image.size)
    return image.crop((left, top, left + side, top + side))


def shrink(image: Image.Image, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """A square image, mode L or RGB, at the recipe's resolution."""
    R = recipe.resolution
    image = image.resize((R, R), FILTERS[recipe.resize])
    return np.asarray(image).reshape(R, R, recipe.channels)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255; the full range maps to the full range here.
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

"""An attention map as heat over the image that it belongs to."""

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

HEAT_COLOURS = "inferno"


def upscaled(image: Image.Image, scale: int) -> Image.Image:
    """Each pixel as a square of `scale` pixels, RGB."""
    side = (image.width * scale, image.height * scale)
    return image.convert("RGB").resize(side, Image.Resampling.NEAREST)


def heat_overlay(image: Image.Image, weights: npt.NDArray[np.float32]) -> Image.Image:
    """Weights [h, w] >= 0, scaled to their maximum, smoothly enlarged over the image in grey."""
    smooth = Image.fromarray(weights / max(float(weights.max()), 1e-12)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    heat = np.clip(np.asarray(smooth), 0.0, 1.0)  # [H, W]; bicubic overshoots
    colours = colormaps[HEAT_COLOURS](heat)[:, :, :3]  # [H, W, 3] in 0..1
    grey = np.asarray(image.convert("L"), np.float64)[:, :, None] / 255
    opacity = 0.25 + 0.65 * heat[:, :, None]
    mixed = grey * (1 - opacity) + colours * opacity
    return Image.fromarray((255 * mixed).round().astype(np.uint8))


def heat_palette(count: int = 32) -> list[str]:
    """The colours from weight 0 to the maximum, as `#rrggbb`."""
    rgb = (255 * colormaps[HEAT_COLOURS](np.linspace(0, 1, count))[:, :3]).round().astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb]

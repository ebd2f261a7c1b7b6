"""Attention maps of positions in generated images, as in figures 6 and 7 of the SAGAN paper."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from pipeline.reporting.html import Picture, picture
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.numbers import significant
from pipeline.reporting.samples import from_array

NUM_QUERIES = 4
NUM_OBJECT_QUERIES = 3  # the last one lies on the background
SIDE = 192  # pixels of a picture, at most, unless the image is larger
HEAT_COLOURS = tuple(
    f"#{digits:06x}"
    for digits in (
        *(0x000004, 0x040312, 0x0B0724, 0x150B37, 0x230C4C, 0x310A5C, 0x3E0966, 0x4C0C6B),
        *(0x5A116E, 0x67166E, 0x741A6E, 0x801F6C, 0x8F2469, 0x9B2964, 0xA82E5F, 0xB43359),
        *(0xC13A50, 0xCC4248, 0xD74B3F, 0xE05536, 0xE9612B, 0xEF6E21, 0xF57B17, 0xF8890C),
        *(0xFB9906, 0xFCA80D, 0xFBB81D, 0xF9C72F, 0xF5D949, 0xF2E865, 0xF3F586, 0xFCFFA4),
    )
)
"""From weight 0 to the maximum, evenly spaced; matplotlib's inferno."""
_MAX_EXPLORED_BYTES = 300_000  # maps of one image in the page, for the pointer to explore


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query position and the weights that it gives to the keys."""

    row: int
    column: int
    heat: Image.Image
    """The image with its map over it."""
    overlay: Picture
    peak: str
    """Largest weight, in multiples of a uniform map's."""


@dataclass(frozen=True, kw_only=True)
class AttendedSample:
    """One generated image with its queries."""

    label: str
    image: Image.Image
    plain: Picture
    queries: tuple[Query, ...]
    maps: str | None
    """All maps for the page's script: base64 of uint8 [s, s, k, k], each to its own maximum."""


@dataclass(frozen=True, kw_only=True)
class AttentionFigure:
    """The samples at one feature size."""

    size: int
    """Side of the features."""
    key_size: int
    """Side of the keys: half of it where they are pooled."""
    samples: tuple[AttendedSample, ...]


def attention_figures(inputs: ReportInputs, num_samples: int) -> tuple[AttentionFigure, ...]:
    """A figure for each feature size with attention, of the first samples."""
    attention = inputs.attention
    shown = range(min(num_samples, len(attention.images)))
    return tuple(
        AttentionFigure(
            size=size,
            key_size=maps.shape[-1],
            samples=tuple(
                _attended(
                    attention.images[n],
                    maps[n],
                    inputs.class_names[int(attention.labels[n])],
                )
                for n in shown
            ),
        )
        for size, maps in sorted(attention.maps.items())
    )


def choose_queries(
    image: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32], count: int = NUM_QUERIES
) -> tuple[tuple[int, int], ...]:
    """Positions (row, column) for the figure: on the object, far apart, with different maps.

    image [H, W, C], maps [s, s, k, k]. The last position is on the background, where there is
    one. What differs from the colour of the image's border counts as the object.
    """
    size = len(maps)
    salience = _salience(image, size)  # [s, s]
    inner = np.zeros((size, size), bool)
    inner[1:-1, 1:-1] = True
    objects = inner & (salience >= 0.5 * salience[inner].max())
    ground = inner & (salience <= 0.1 * salience[inner].max()) & ~objects
    start = np.where(objects, salience, -1.0).argmax()
    chosen = [divmod(int(start), size)]
    while len(chosen) < count:
        wanted = ground if len(chosen) >= NUM_OBJECT_QUERIES else objects
        candidates = wanted if wanted.any() else inner
        distance = np.where(candidates, _unlikeness(maps, chosen), -1.0)
        chosen.append(divmod(int(distance.argmax()), size))
    return tuple(chosen)


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
    palette = np.array([ImageColor.getrgb(colour) for colour in HEAT_COLOURS]) / 255  # [32, 3]
    places = np.linspace(0, 1, len(palette))
    colours = np.stack([np.interp(heat, places, part) for part in palette.T], axis=-1)  # [H, W, 3]
    grey = np.asarray(image.convert("L"), np.float64)[:, :, None] / 255
    opacity = 0.25 + 0.65 * heat[:, :, None]
    mixed = grey * (1 - opacity) + colours * opacity
    return Image.fromarray((255 * mixed).round().astype(np.uint8))


def _attended(
    image: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32], label: str
) -> AttendedSample:
    scale = max(1, SIDE // len(image))
    large = upscaled(from_array(image), scale)
    queries = []
    for row, column in choose_queries(image, maps):
        weights = maps[row, column]
        heat = heat_overlay(large, weights)
        alt = f"Attention map of row {row}, column {column} of the features"
        peak = significant(float(weights.max()) * weights.size, 2)
        queries.append(
            Query(row=row, column=column, heat=heat, overlay=picture(heat, alt), peak=peak)
        )
    return AttendedSample(
        label=label,
        image=large,
        plain=picture(from_array(image), f"Generated sample of class {label}"),
        queries=tuple(queries),
        maps=_packed(maps),
    )


def _salience(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float64]:
    pixels = image.astype(np.float64)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    difference = np.abs(pixels - np.median(border, axis=0)).mean(axis=2)
    small = Image.fromarray(difference.astype(np.float32)).resize(
        (size, size), Image.Resampling.BOX
    )
    return np.asarray(small, np.float64)


def _unlikeness(
    maps: npt.NDArray[np.float32], chosen: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """[s, s]: distance in place times distance of the maps to the nearest chosen position."""
    size = len(maps)
    rows, columns = np.mgrid[:size, :size]
    nearest = np.full((size, size), np.inf)
    for row, column in chosen:
        place = np.hypot(rows - row, columns - column) / size
        look = 0.5 * np.abs(maps - maps[row, column]).sum(axis=(2, 3))
        nearest = np.minimum(nearest, place * (0.05 + look))
    return nearest


def _packed(maps: npt.NDArray[np.float32]) -> str | None:
    if maps.size > _MAX_EXPLORED_BYTES:
        return None
    peaks = maps.max(axis=(2, 3), keepdims=True)
    levels = np.round(255 * maps / np.maximum(peaks, 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode("ascii")

"""Where positions of a generated image looked, as in figures 6 and 7 of the SAGAN paper."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.reporting.heat import heat_overlay, upscaled
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.numbers import significant
from pipeline.reporting.pictures import Picture, from_array, picture

NUM_QUERIES = 4
NUM_OBJECT_QUERIES = 3  # the last one lies on the background
SIDE = 192  # pixels of a picture, at most, unless the image is larger
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
    """Positions (row, column) worth looking at: on the object, far apart, with unlike maps.

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


def _attended(
    image: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32], label: str
) -> AttendedSample:
    scale = max(1, SIDE // len(image))
    large = upscaled(from_array(image), scale)
    queries = []
    for row, column in choose_queries(image, maps):
        weights = maps[row, column]
        heat = heat_overlay(large, weights)
        alt = f"Where row {row}, column {column} of the features looks"
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

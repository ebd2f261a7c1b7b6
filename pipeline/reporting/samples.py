"""Generated and real images by class, and samples during training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import Rows
from pipeline.reporting.html import Picture, picture
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.numbers import kimg

MAX_MOMENTS = 12  # columns of the film strip


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class: generated images and real ones."""

    name: str
    generated: Picture
    real: Picture | None
    """None for a class without training images."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The samples of fixed latents at one moment of the training."""

    kimg: str
    grid: Picture
    column: Picture
    """One sample of each row of the grid, one above the other."""


def class_rows(inputs: ReportInputs, num_generated: int, num_real: int) -> tuple[ClassRow, ...]:
    """A row for each row of the class grid."""
    manifest = inputs.dataset.manifest
    R, grid = manifest.resolution, inputs.class_grid
    columns = min(num_generated, grid.width // R)
    rows = []
    for index, label in enumerate(grid_labels(inputs)):
        name = manifest.class_names[label]
        strip = grid.crop((0, index * R, columns * R, (index + 1) * R))
        rows.append(
            ClassRow(
                name=name,
                generated=picture(strip, f"{columns} generated samples of class {name}"),
                real=_real(inputs.dataset.train, label, num_real, name),
            )
        )
    return tuple(rows)


def grid_labels(inputs: ReportInputs) -> tuple[int, ...]:
    """The class of each row of the class grid: all of them, or so many evenly spread over more."""
    R, num_classes = inputs.dataset.manifest.resolution, len(inputs.class_names)
    width, height = inputs.class_grid.size
    num_rows = height // R
    if width % R or height % R or not 1 <= num_rows <= num_classes or width < R:
        raise UserError(
            f"class_grid.png of {width}x{height} pixels is no grid of {R}x{R} images with a row "
            f"for each of at most {num_classes} classes; `dvc repro --force evaluate` writes it "
            "anew"
        )
    return tuple(int(label) for label in np.linspace(0, num_classes - 1, num_rows).round())


def moments(inputs: ReportInputs) -> tuple[Moment, ...]:
    """The sample grids over training time, at most MAX_MOMENTS of them, first and last included."""
    grids = inputs.grids
    R = inputs.dataset.manifest.resolution
    chosen = np.unique(np.linspace(0, len(grids) - 1, min(len(grids), MAX_MOMENTS)).round())
    return tuple(
        Moment(
            kimg=kimg(grids[index][0]),
            grid=picture(
                grids[index][1], f"Grid of samples after {kimg(grids[index][0])} thousand images"
            ),
            column=picture(
                grids[index][1].crop((0, 0, R, grids[index][1].height)),
                f"One sample a row after {kimg(grids[index][0])} thousand images",
            ),
        )
        for index in chosen.astype(int)
    )


def banner(inputs: ReportInputs, side: int = 96, width: int = 1088) -> tuple[Image.Image, int]:
    """Generated images side by side, a class after the other, and the scale to show them at.

    As many as fit `width` pixels when each takes about `side`.
    """
    R, grid = inputs.dataset.manifest.resolution, inputs.class_grid
    scale = max(1, side // R)
    num_rows = grid.height // R
    cells = min(width // (R * scale), num_rows * (grid.width // R))
    line = Image.new(grid.mode, (cells * R, R))
    for i in range(cells):
        column, row = divmod(i, num_rows)
        corner = (column * R, row * R)
        line.paste(grid.crop((*corner, corner[0] + R, corner[1] + R)), (i * R, 0))
    return line, scale


def from_array(image: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 [H, W, C], C 1 or 3, as an image."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def strip(images: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8 [N, H, W, C] side by side."""
    return from_array(np.concatenate(list(images), axis=1))


def _real(train: Rows, label: int, count: int, name: str) -> Picture | None:
    rows = np.flatnonzero(train.labels == label)[:count].astype(np.int64)
    if len(rows) == 0:
        return None
    return picture(strip(train.gather(rows)), f"{len(rows)} real images of class {name}")

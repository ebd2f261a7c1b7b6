"""The PNG files that `dvc plots show` shows and that MLflow gets."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
from altair.typing import ChartType
from PIL import Image

from pipeline.reporting.attention_figure import AttentionFigure
from pipeline.reporting.charts import rows, write_png
from pipeline.reporting.curves import Chart, curves_sheet
from pipeline.reporting.html import data_uri
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.samples import grid_labels

_CELL = 40  # units of an image of the class grid, about
_GAP, _TITLE = 10, 18  # units between the images of the attention figure, and above them


def write_figures(
    folder: Path,
    inputs: ReportInputs,
    charts: Sequence[Chart],
    attention: Sequence[AttentionFigure],
) -> None:
    """Writes `curves.png`, `class_grid.png` and, with attention, `attention.png` to the folder."""
    write_png(curves_sheet(charts), folder / "curves.png")
    write_png(class_grid(inputs), folder / "class_grid.png")
    if attention:
        write_png(attention_sheet(attention), folder / "attention.png")


def class_grid(inputs: ReportInputs) -> ChartType:
    """Generated images, a row for each class with its name."""
    grid, R = inputs.class_grid, inputs.dataset.manifest.resolution
    names = [inputs.class_names[label] for label in grid_labels(inputs)]
    # Whole pixels of the file, of which a unit has two, for each pixel of the grid.
    scale = max(1, round(2 * _CELL / R))
    large = grid.resize((scale * grid.width, scale * grid.height), Image.Resampling.NEAREST)
    width, height, cell = large.width / 2, large.height / 2, scale * R / 2
    labels = [
        {"x": -8, "y": cell * (row + 0.5), "text": name[:24]} for row, name in enumerate(names)
    ]
    return alt.layer(
        _images([{"x": 0, "y": 0, "url": data_uri(large)}], width, height),
        _placed(labels).mark_text(align="right", baseline="middle").encode(text="text:N"),
        width=width,
        height=height,
    )


def attention_sheet(figures: Sequence[AttentionFigure]) -> ChartType:
    """A row for each sample: the image with its queries as dots, then each query's map."""
    samples = [(figure.size, sample) for figure in figures for sample in figure.samples]
    images, titles, dots, frames = [], [], [], []
    tile = samples[0][1].image.width / 2  # units; a unit has two pixels of the file
    for row, (size, sample) in enumerate(samples):
        top = row * (tile + _GAP + _TITLE) + _TITLE
        images.append({"x": 0, "y": top, "url": data_uri(sample.image)})
        titles.append({"x": 0, "y": top - 5, "text": f"{sample.label[:16]}, {size}x{size}"})
        for index, query in enumerate(sample.queries):
            x, y = (tile * (place + 0.5) / size for place in (query.column, query.row))
            colour = f"var(--q{index})"
            dots.append({"x": x, "y": top + y, "colour": colour})
            left = (index + 1) * (tile + _GAP)
            images.append({"x": left, "y": top, "url": data_uri(query.heat)})
            frames.append({"x": left, "y": top, "right": left + tile, "bottom": top + tile,
                           "colour": colour})  # fmt: skip
    columns = 1 + max(len(sample.queries) for _, sample in samples)
    return alt.layer(
        _images(images, tile, tile),
        _placed(titles).mark_text(align="left", baseline="bottom").encode(text="text:N"),
        _placed(dots)
        .mark_point(shape="circle", size=55, opacity=1, stroke="white")
        .encode(fill=alt.Fill("colour:N", scale=None)),
        _placed(frames)
        .mark_rect(fill="transparent", strokeWidth=4)
        .encode(x2="right:Q", y2="bottom:Q", stroke=alt.Stroke("colour:N", scale=None)),
        width=columns * (tile + _GAP) - _GAP,
        height=len(samples) * (tile + _GAP + _TITLE) - _GAP,
    )


def _images(table: Iterable[Mapping[str, Any]], width: float, height: float) -> alt.Chart:
    mark = _placed(table).mark_image(align="left", baseline="top", width=width, height=height)
    return mark.encode(url="url:N")


def _placed(table: Iterable[Mapping[str, Any]]) -> alt.Chart:
    """Rows at (x, y) units from the upper left corner."""
    return alt.Chart(rows(table)).encode(
        x=alt.X("x:Q", scale=None, axis=None), y=alt.Y("y:Q", scale=None, axis=None)
    )

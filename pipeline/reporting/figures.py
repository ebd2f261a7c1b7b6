"""The plots that `dvc plots show` shows: PNG files, for it draws no curves without a network."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.reporting.attention_figure import AttentionFigure
from pipeline.reporting.curves import Chart
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.samples import grid_labels
from pipeline.storage.atomic import atomic_write

QUERY_COLOURS = ("#0a8ea3", "#c97408", "#d1357b", "#4b861e")  # as in report.css
_CURVE_COLOURS = ("#1f6feb", "#d1571f", "#1a7f4e", "#a1379b", "#8a6d00", "#5a6b7b")


def write_figures(
    folder: Path,
    inputs: ReportInputs,
    charts: Sequence[Chart],
    attention: Sequence[AttentionFigure],
) -> None:
    """Writes `curves.png`, `class_grid.png` and, with attention, `attention.png` to the folder."""
    _save(_curves(charts), folder / "curves.png")
    _save(_class_grid(inputs), folder / "class_grid.png")
    if attention:
        _save(_attention(attention), folder / "attention.png")


def _curves(charts: Sequence[Chart]) -> Figure:
    columns = min(2, max(1, len(charts)))
    rows = max(1, math.ceil(len(charts) / columns))
    figure = Figure(figsize=(5.2 * columns, 3.2 * rows), layout="constrained")
    for index, chart in enumerate(charts):
        axes = figure.add_subplot(rows, columns, index + 1)
        for number, series in enumerate(chart.series):
            colour = _CURVE_COLOURS[number % len(_CURVE_COLOURS)]
            axes.plot(chart.kimg, series.values, label=_plain(series.name), color=colour, lw=1.4)
        axes.set_title(_plain(chart.title), fontsize=10, loc="left")
        axes.set_xlabel("thousand images", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    return figure


def _class_grid(inputs: ReportInputs) -> Figure:
    grid = inputs.class_grid
    names = [inputs.class_names[label] for label in grid_labels(inputs)]
    R = inputs.dataset.manifest.resolution
    height = min(40.0, 0.6 * len(names) + 0.2)
    figure = Figure(figsize=(0.6 * grid.width / R + 1.4, height), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks([(i + 0.5) * R for i in range(len(names))])
    axes.set_yticklabels([_plain(name[:24]) for name in names], fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _attention(figures: Sequence[AttentionFigure]) -> Figure:
    samples = [(figure.size, sample) for figure in figures for sample in figure.samples]
    columns = 1 + max(len(sample.queries) for _, sample in samples)
    figure = Figure(figsize=(1.7 * columns, 1.8 * len(samples)), layout="constrained")
    for row, (size, sample) in enumerate(samples):
        axes = figure.add_subplot(len(samples), columns, row * columns + 1)
        axes.imshow(sample.image)
        axes.set_title(f"{_plain(sample.label[:16])}, {size}x{size}", fontsize=8)
        axes.axis("off")
        cell = sample.image.width / size
        for index, query in enumerate(sample.queries):
            colour = QUERY_COLOURS[index]
            position = ((query.column + 0.5) * cell, (query.row + 0.5) * cell)
            axes.plot(*position, "o", color=colour, markeredgecolor="white", markersize=7)
            beside = figure.add_subplot(len(samples), columns, row * columns + 2 + index)
            beside.imshow(query.heat)
            beside.axis("off")
            frame = Rectangle(
                (0, 0), 1, 1, transform=beside.transAxes, fill=False, edgecolor=colour, lw=4
            )
            beside.add_patch(frame)
    return figure


def _plain(text: str) -> str:
    # A dollar sign would start a formula, and the bundled font lacks what lies beyond.
    printable = "".join(c if c.isprintable() and ord(c) < 0x2500 else "?" for c in text)
    return printable.replace("$", r"\$")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")

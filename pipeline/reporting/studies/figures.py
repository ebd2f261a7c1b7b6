"""A study's pictures as PNG files, for MLflow and `dvc plots`."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.reporting.studies.bars import Bars
from pipeline.reporting.studies.drawings import Drawings
from pipeline.reporting.studies.learning_curves import LearningCurves
from pipeline.reporting.studies.rate_map import (
    PAPER_RATES,
    RateMap,
    colour_scale,
    map_scales,
    paper_is_on,
    shade_of,
)
from pipeline.storage.atomic import atomic_write

_COLOURS = ("#1f63c6", "#c8501a", "#157347", "#9a3296", "#806600", "#566373")  # as in report.css
_GREY = "#c4c9d0"
_LOG_FROM = 3.0


def write_study_figures(folder: Path, shown: Drawings) -> dict[str, Path]:
    """Writes what there is; the files by name: curves, rates, placements."""
    figures = {}
    if shown.curves is not None:
        figures["curves"] = _curves(shown.curves)
    if shown.maps:
        figures["rates"] = _maps(shown.maps)
    if shown.bars is not None:
        figures["placements"] = _bars(shown.bars)
    files = {}
    for name, figure in figures.items():
        FigureCanvasAgg(figure)
        files[name] = folder / f"{name}.png"
        with atomic_write(files[name]) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
    return files


def _curves(chart: LearningCurves) -> Figure:
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for curve in chart.curves:
        colour = _GREY if curve.colour is None else _COLOURS[curve.colour]
        kimg, reached = zip(*curve.points, strict=True)
        marker = {"complete": "o", "stopped": "|", "failed": "x"}.get(curve.status, "")
        axes.plot(kimg, reached, color=colour, lw=1.4, marker=marker, markevery=[-1])
    for rung in chart.rungs_kimg:
        axes.axvline(rung, color="#8a929c", lw=0.8, ls="--")
    for name, index in chart.legend:
        axes.plot([], [], color=_COLOURS[index], label=_plain(name))
    values = [value for curve in chart.curves for _, value in curve.points]
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        axes.set_yscale("log")
    axes.set_xlabel("thousand images", fontsize=9)
    axes.set_title(_plain(chart.metric), fontsize=10, loc="left")
    axes.legend(fontsize=7.5, frameon=False)
    _tidy(axes)
    return figure


def _maps(maps: tuple[RateMap, ...]) -> Figure:
    figure = Figure(figsize=(4.6 * len(maps), 4.4), layout="constrained")
    for number, chart in enumerate(maps):
        axes = figure.add_subplot(1, len(maps), number + 1)
        scales = map_scales(chart, 0, 1, 0, 1)
        shade = colour_scale(chart)
        for point in chart.points:
            if point.value is None:
                axes.plot(point.g_lr, point.d_lr, "x", color="#8a929c")
                continue
            colour = shade_of(point.value, shade)
            fill = colour if point.finished else "none"
            edge = "#16191d" if point.finished else colour
            axes.plot(
                *(point.g_lr, point.d_lr), "o", ms=11 if point.finished else 8, mfc=fill, mec=edge
            )
            axes.annotate(
                f"{point.value:.3g}",
                (point.g_lr, point.d_lr),
                textcoords="offset points",
                xytext=(8, 4),
                fontsize=7,
            )
        if paper_is_on(scales):
            axes.plot(*PAPER_RATES, "+", color="#59616b", ms=13)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel("rate of G", fontsize=9)
        axes.set_ylabel("rate of D", fontsize=9)
        title = " ".join(part for part in (chart.metric, chart.title) if part)
        title += "; hollow: not finished, +: the paper"
        axes.set_title(_plain(title), fontsize=8, loc="left")
        _tidy(axes)
    return figure


def _bars(chart: Bars) -> Figure:
    figure = Figure(figsize=(7.0, 0.42 * len(chart.bars) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    for row, bar in enumerate(chart.bars):
        if bar.mean is None:
            axes.text(0, row, f" {bar.note}", va="center", fontsize=8, color="#59616b")
            continue
        axes.barh(row, bar.mean, height=0.55, color=_COLOURS[0], alpha=0.8)
        if bar.ci95 is not None:
            axes.plot(bar.ci95, (row, row), color="#16191d", lw=1.4, marker="|")
        axes.plot(bar.values, [row] * len(bar.values), "o", ms=4, mfc="white", mec="#16191d")
    values = [value for bar in chart.bars for value in bar.values]
    means = [bar.mean for bar in chart.bars if bar.mean is not None]
    ends = [bar.ci95[1] for bar in chart.bars if bar.ci95 is not None]
    high = max([*values, *(min(end, 1.6 * max(means)) for end in ends)])
    axes.set_xlim(min(0.0, *values), 1.04 * high if high > 0 else 1.0)
    axes.set_yticks(range(len(chart.bars)), [_plain(bar.name) for bar in chart.bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(
        _plain(f"{chart.metric}: mean, 95 % interval over seeds, and seeds"), fontsize=9, loc="left"
    )
    _tidy(axes)
    return figure


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would start a formula

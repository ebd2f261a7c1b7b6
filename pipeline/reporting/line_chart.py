"""A line chart as inline SVG, and as data for the read-out under the pointer."""

import math
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from pipeline.reporting.axes import Scale, tick_label
from pipeline.reporting.curves import Chart
from pipeline.reporting.numbers import kimg, significant

WIDTH, HEIGHT = 420, 230  # user units; the drawing scales to the width of its box
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 12, 32
NUM_COLOURS = 6  # of the style sheet


def line_chart(chart: Chart) -> Markup:
    """The drawing; its classes `c0`..`c5` take their colours from the page's style sheet."""
    x, y = _scales(chart)
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, _summary(chart)
        )
    ]
    for tick in y.ticks(5):
        parts.append(
            Markup(
                '<line class="grid{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(
                " zero" if tick == 0 else "",
                _LEFT,
                WIDTH - _RIGHT,
                y(tick),
                y(tick),
                _LEFT - 6,
                y(tick) + 3.5,
                tick_label(tick),
            )
        )
    for tick in x.ticks(6):
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x(tick), HEIGHT - _BOTTOM + 15, tick_label(tick)
            )
        )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="end">thousand images</text>').format(
            WIDTH - _RIGHT, HEIGHT - 3
        )
    )
    for index, series in enumerate(chart.series):
        points = zip(chart.kimg, series.values, strict=True)
        path = "".join(_path([(x(seen), y(value)) for seen, value in points]))
        parts.append(Markup('<path class="line c{}" d="{}"/>').format(index % NUM_COLOURS, path))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def readout(chart: Chart) -> dict[str, Any]:
    """What the page's script needs to name the values under the pointer; plain JSON."""
    x, y = _scales(chart)
    return {
        "kimg": [kimg(round(1000 * value), 4) for value in chart.kimg],
        "x": [round(x(value), 1) for value in chart.kimg],
        "top": _TOP,
        "bottom": HEIGHT - _BOTTOM,
        "series": [
            {
                "name": series.name,
                "text": [significant(v) if math.isfinite(v) else "" for v in series.values],
                "y": [round(y(v), 1) if math.isfinite(v) else None for v in series.values],
            }
            for series in chart.series
        ],
    }


def _scales(chart: Chart) -> tuple[Scale, Scale]:
    values = [v for series in chart.series for v in series.values if math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if min(abs(low), abs(high)) < 0.4 * (high - low) or low == high:
        low, high = min(low, 0.0), max(high, 0.0)  # zero is near enough to be worth showing
    if low == high:
        high = low + 1
    margin = 0.04 * (high - low)
    low, high = low - (margin if low else 0), high + (margin if high else 0)
    last = max(chart.kimg)
    return (
        Scale(0.0, last if last > 0 else 1.0, _LEFT, WIDTH - _RIGHT),
        Scale(low, high, HEIGHT - _BOTTOM, _TOP),
    )


def _path(points: list[tuple[float, float]]) -> Iterator[str]:
    pen_down = False
    for x, y in points:
        if math.isfinite(y):
            # A point with none beside it is a line of no length, whose round ends are a dot.
            yield f"L{x:.1f} {y:.1f}" if pen_down else f"M{x:.1f} {y:.1f}h0"
        pen_down = math.isfinite(y)


def _summary(chart: Chart) -> str:
    ends = []
    for series in chart.series:
        finite = [value for value in series.values if math.isfinite(value)]
        if finite:
            ends.append(f"{series.name} from {significant(finite[0])} to {significant(finite[-1])}")
    return f"{chart.title} over training: {'; '.join(ends)}"

"""Parts that a study's drawings share."""

import math
from collections.abc import Iterable

from markupsafe import Markup

from pipeline.reporting.axes import Scale, log_scale, tick_label

WIDTH = 640  # user units; a drawing scales to the width of its box
_LOG_FROM = 3.0  # ratio of largest to smallest from which equal ratios are worth equal distances


def value_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale for finite values of a metric; logarithmic where they differ by much."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if low > 0 and high / low >= _LOG_FROM:
        return log_scale(known, start, end)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def opened(width: int, height: int, summary: str) -> Markup:
    """The start of a drawing; `summary` says what it shows to who cannot see it."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        width, height, summary
    )


def y_ticks(y: Scale, left: float, right: float, count: int = 5) -> Markup:
    """Lines across the drawing with their values on the left."""
    line = Markup(
        '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
        '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
    )
    return Markup("").join(
        line.format(left, right, y(tick), y(tick), left - 6, y(tick) + 3.5, tick_label(tick))
        for tick in y.ticks(count)
    )


def x_ticks(x: Scale, bottom: float, top: float | None = None, count: int = 6) -> Markup:
    """Values below the drawing; with `top` lines up to there too."""
    label = Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')
    parts = []
    for tick in x.ticks(count):
        if top is not None:
            parts.append(
                Markup(
                    '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'
                ).format(x(tick), x(tick), top, bottom)
            )
        parts.append(label.format(x(tick), bottom + 15, tick_label(tick)))
    return Markup("").join(parts)


def axis_name(text: str, x: float, y: float, anchor: str = "end") -> Markup:
    """What an axis measures."""
    return Markup('<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )

"""Vega-Lite charts, each from one definition: interactive in a page, and as SVG and PNG files."""

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from altair.typing import ChartType
from markupsafe import Markup

from pipeline.reporting.html import asset, script_data
from pipeline.storage.atomic import atomic_write

NUM_COLOURS = 6
"""Categories `var(--c0)` to `var(--c5)` of the style sheet; later ones start over."""
_LOG_FROM = 3.0  # ratio of the largest value to the smallest

# Colours are variables of report.css: a page's charts follow its scheme (light, dark, print)
# without being drawn again, and files have the values of the light scheme.
CONFIG: dict[str, Any] = {
    "background": "var(--paper)",
    # Fonts of one width: the text was measured where the page was made.
    "font": "Arial, Liberation Sans, Helvetica, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "tickCount": 5,
        "labelOverlap": "greedy",
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelLimit": 300,
        "symbolSize": 60,
        "symbolOpacity": 1,
        "symbolStrokeWidth": 2.5,
    },
    "title": {"color": "var(--ink)", "anchor": "start", "fontSize": 13},
    "line": {"strokeCap": "round", "strokeJoin": "round", "strokeWidth": 1.5},
    "text": {"color": "var(--ink)"},
    "rule": {"color": "var(--muted)"},
}


@dataclass(frozen=True, kw_only=True)
class PageChart:
    """A chart as a template shows it."""

    svg: Markup
    """Shown until the page's script replaces it, and without scripts."""
    spec: Markup
    """The interactive chart as JSON that is safe inside a script element."""


def page_chart(static: ChartType, interactive: ChartType) -> PageChart:
    """Both forms of a chart in a page; the interactive one is as wide as its container."""
    svg = vl_convert.vegalite_to_svg(_spec(static), allowed_base_urls=[])
    # Vega numbers gradients over all charts of a process; those of a page have the same colours.
    svg = re.sub(r"gradient_\d+", "gradient", svg)
    spec = _spec(interactive.properties(width="container"))
    return PageChart(svg=Markup(svg), spec=script_data(spec))


def write_png(chart: ChartType, path: Path) -> None:
    """The chart in the colours of the light scheme, two pixels for each of its units."""
    light = _light_colours()
    text = re.sub(r"var\(--(\w+)\)", lambda m: light.get(m[1], m[0]), json.dumps(_spec(chart)))
    image = vl_convert.vegalite_to_png(text, scale=2, allowed_base_urls=[])
    with atomic_write(path) as temporary:
        temporary.write_bytes(image)


@functools.cache
def vega_script() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script that defines `vegaEmbed` (900 kB)."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    license = "// Vega, Vega-Lite, Vega-Embed: (c) University of Washington IDL, BSD-3-Clause\n"
    return Markup(license + script.replace("</script", r"<\/script"))


def rows(values: Iterable[Mapping[str, Any]]) -> alt.Data:
    """The rows of a chart's table; numbers that are not finite become missing values."""
    return alt.Data(
        values=[
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in values
        ]
    )


def zoom() -> alt.Parameter:
    """Drag to move, Ctrl and wheel to zoom, double click to go back; touch scrolls the page."""
    return alt.selection_interval(
        name="zoom",
        bind="scales",
        zoom="wheel![event.ctrlKey]",
        translate="[pointerdown[event.pointerType === 'mouse'], window:pointerup] "
        "> window:pointermove!",
    )


def category(index: int) -> str:
    """The colour of a category."""
    return f"var(--c{index % NUM_COLOURS})"


def value_axis() -> alt.Axis:
    """Of a linear scale: grid lines, that of zero darker."""
    zero = {"condition": {"test": "datum.value === 0", "value": "var(--muted)"}}
    return alt.Axis(format=",.6~g", gridColor={**zero, "value": "var(--line)"})


def log_axis(label_format: str) -> alt.Axis:
    """Of a logarithmic scale: lines and labels at 1, 2 and 5 times the powers of ten."""
    digit = "round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
    shown = f"indexof([1, 2, 5], {digit}) >= 0"
    return alt.Axis(
        labelExpr=f"{shown} ? format(datum.value, '{label_format}') : ''",
        gridOpacity={"condition": {"test": shown, "value": 1}, "value": 0},
    )


def value_encoding(values: Iterable[float]) -> dict[str, Any]:
    """Scale and axis for finite values; logarithmic where they are positive and far apart."""
    known = [value for value in values if math.isfinite(value)]
    if not is_logarithmic(known):
        return {"scale": alt.Scale(zero=False), "axis": value_axis()}
    return {"scale": log_scale(known), "axis": log_axis(",.6~g")}


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether the largest value is at least 3 times the smallest, and all are above 0."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= _LOG_FROM


def log_scale(values: Sequence[float]) -> alt.Scale:
    """A logarithmic scale with a margin around the values."""
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.02)
    return alt.Scale(type="log", domain=[low / margin, high * margin], nice=False)


def legend_columns(labels: Sequence[str], width: float | None = None) -> Any:
    """As many columns as there is room for in `width`, or in the chart's where that is None."""
    widest = 34 + 6.5 * min(46, max(map(len, labels), default=0))  # units, about
    if width is None:
        return {"expr": f"max(1, floor(width / {widest:g}))"}
    return max(1, math.floor(width / widest))


def _spec(chart: ChartType) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict()
    del spec["$schema"]  # an address on the web
    return {**spec, "config": CONFIG}


@functools.cache
def _light_colours() -> Mapping[str, str]:
    light = asset("report.css").partition("@media")[0]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))

"""Training curves: as charts for the page and a PNG file, and as CSV for `dvc plots`."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.typing import ChartType

from pipeline.reporting.charts import (
    category,
    legend_columns,
    rows,
    value_axis,
    zoom,
)
from pipeline.reporting.numbers import significant
from pipeline.tracking.jsonl import MetricsRecord

WIDTH = 440
"""Of a chart that does not take the width of its container."""
_MAX_POINTS = 400  # in a chart; more would not be seen


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve; nan where there is no value."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over one axis of thousands of images."""

    title: str
    note: str
    kimg: tuple[float, ...]
    series: tuple[Curve, ...]


# Prefix of the metrics' names, title, what to see in it.
_CHARTS = (
    ("loss/", "Losses", "The losses of D and G and their parts; means between two reports."),
    (
        "logits/",
        "Logits of D",
        "Mean output of D for real and generated images; the closer, the less D separates them.",
    ),
    (
        "attention/",
        "Attention gamma",
        "The learnt factor of each attention block; at 0, its start, the block is the identity.",
    ),
    (
        "residual/",
        "Residual gamma",
        "The learnt factor of each residual block in the place of attention; it starts at 0.",
    ),
    (
        "pixel_std/",
        "Pixel standard deviation",
        "Standard deviation of pixels over a batch; a generator that makes one image has none.",
    ),
    ("throughput/", "Throughput", "Real images that D sees in a second."),
)
_DURING_TRAINING = re.compile(r"fi?d2k(_|$)")  # a chart each: no two extractors share a scale
_DURING_TRAINING_NOTE = (
    "Frechet distance of 2,000 generated images, always the same latents, to the training split; "
    "with so few images it is larger, so it is comparable only with itself."
)
_ALARMS = ("collapse/detected",)  # worth a chart only once they went off
_NAMES = {
    "loss/d": "D",
    "loss/g": "G",
    "loss/d_class_real": "D, classes of real",
    "loss/d_class_fake": "D, classes of generated",
    "loss/g_class": "G, classes",
    "loss/gradient_penalty": "gradient penalty",
    "pixel_std/real": "real",
    "pixel_std/fake": "generated",
    "logits/real": "real",
    "logits/fake": "generated",
    "throughput/images_per_s": "images/s",
}


def charts(statuses: Sequence[MetricsRecord]) -> tuple[Chart, ...]:
    """A chart for each group of metrics that occurs; long runs are thinned to means."""
    names = [
        name for name in _names(statuses) if name not in _ALARMS or any(_values(statuses, name))
    ]
    groups = [
        (f"Distance during training: {name}", _DURING_TRAINING_NOTE, [name])
        for name in names
        if _DURING_TRAINING.match(name)
    ]
    groups += [(title, note, [n for n in names if n.startswith(p)]) for p, title, note in _CHARTS]
    known = {name for _, _, members in groups for name in members}
    groups.append(("Other", "", [name for name in names if name not in known]))
    return tuple(
        _chart(title, note, members, statuses) for title, note, members in groups if members
    )


def _chart(
    title: str, note: str, members: Sequence[str], statuses: Sequence[MetricsRecord]
) -> Chart:
    # Some metrics come with few of the statuses: between those that have any is no gap.
    shown = [s for s in statuses if any(name in s.metrics for name in members)]
    stride = -(-len(shown) // _MAX_POINTS)
    return Chart(
        title=title,
        note=note,
        kimg=tuple(_thinned([status.nimg / 1000 for status in shown], stride)),
        series=tuple(
            Curve(name=_readable(name), values=tuple(_thinned(_values(shown, name), stride)))
            for name in members
        ),
    )


def curves_sheet(charts: Sequence[Chart]) -> ChartType:
    """All charts, two beside each other."""
    return alt.concat(
        *(line_chart(chart).properties(title=chart.title) for chart in charts), columns=2
    ).resolve_scale(color="independent")


def line_chart(chart: Chart, *, interactive: bool = False) -> ChartType:
    """A line for each curve, broken where it has no value.

    Interactive, it shows the values at the status nearest to the pointer, and zooms.
    """
    names = [series.name for series in chart.series]
    curves = _folded(chart, legend_columns(names, None if interactive else WIDTH))
    lines = curves.mark_line(invalid="break-paths-show-domains")
    layers = [lines]
    if interactive:
        nearby = curves.transform_filter({"param": "nearest", "empty": False})
        layers = [
            lines.add_params(zoom()).properties(name="curves"),
            _cursor(chart),
            nearby.mark_point(filled=True, size=40, opacity=1),
        ]
    return alt.layer(
        *layers, data=_table(chart), width=WIDTH, height=200, description=_summary(chart)
    )


def _cursor(chart: Chart) -> alt.Chart:
    """A vertical line at the pointer's number of images, with a tooltip of all values there."""
    nearest = alt.selection_point(
        name="nearest", on="pointermove", clear="pointerout", nearest=True, encodings=["x"]
    )
    visible = alt.when(nearest, empty=False).then(alt.value(1)).otherwise(alt.value(0))
    tooltip = [alt.Tooltip("kimg:Q", title="thousand images", format=",.4~r")]
    tooltip += [
        alt.Tooltip(f"{field}:Q", title=series.name, format=",.3r")
        for field, series in zip(_fields(chart), chart.series, strict=True)
    ]
    return (
        alt.Chart(name="cursor")
        .mark_rule(strokeDash=[2, 2])
        .encode(x=_x_axis(chart), opacity=visible, tooltip=tooltip)
        .add_params(nearest)
    )


def _folded(chart: Chart, columns: Any) -> alt.Chart:
    """All curves over one axis, coloured by their place in the chart."""
    fields, names = _fields(chart), [series.name for series in chart.series]
    labels = json.dumps(dict(zip(fields, names, strict=True)))
    colour = alt.Color(
        "series:N",
        scale=alt.Scale(domain=fields, range=[category(i) for i in range(len(fields))]),
        legend=alt.Legend(labelExpr=f"{labels}[datum.label]", columns=columns, symbolType="stroke"),
    )
    y_scale = alt.Scale(domain=_y_domain(chart), nice=False)
    y = alt.Y("value:Q", title=None, scale=y_scale, axis=value_axis())
    folded = alt.Chart().transform_fold([*fields], as_=["series", "value"])
    return folded.encode(x=_x_axis(chart), y=y, color=colour)


def _table(chart: Chart) -> alt.Data:
    """A row for each number of images, with a column for each curve."""
    columns = zip(*(series.values for series in chart.series), strict=True)
    return rows(
        {"kimg": kimg, **dict(zip(_fields(chart), values, strict=True))}
        for kimg, values in zip(chart.kimg, columns, strict=True)
    )


def _x_axis(chart: Chart) -> alt.X:
    scale = alt.Scale(domain=[0, max(chart.kimg) or 1], nice=False)
    return alt.X("kimg:Q", title="thousand images", scale=scale, axis=value_axis())


def _fields(chart: Chart) -> list[str]:
    # Names of metrics may hold what Vega-Lite takes for a path into a nested value.
    return [f"s{index}" for index in range(len(chart.series))]


def _y_domain(chart: Chart) -> list[float]:
    """All values with a margin, and zero where it is near enough to be worth showing."""
    values = [v for series in chart.series for v in series.values if math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if low == high or min(abs(low), abs(high)) < 0.4 * (high - low):
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return [0.0, 1.0]
    margin = 0.04 * (high - low)
    return [low - margin if low else 0.0, high + margin if high else 0.0]


def _summary(chart: Chart) -> str:
    ends = []
    for series in chart.series:
        finite = [value for value in series.values if math.isfinite(value)]
        if finite:
            ends.append(f"{series.name} from {significant(finite[0])} to {significant(finite[-1])}")
    return f"{chart.title} over training: {'; '.join(ends)}"


def curves_csv(statuses: Sequence[MetricsRecord]) -> str:
    """All statuses: a column `kimg`, then one for each metric, empty where it has no value."""
    names = _names(statuses)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kimg", *names])
    for status in statuses:
        values = [status.metrics.get(name, math.nan) for name in names]
        writer.writerow([status.nimg / 1000, *(v if math.isfinite(v) else "" for v in values)])
    return text.getvalue()


def _names(statuses: Sequence[MetricsRecord]) -> list[str]:
    return sorted({name for status in statuses for name in status.metrics})


def _values(statuses: Sequence[MetricsRecord], name: str) -> list[float]:
    return [status.metrics.get(name, math.nan) for status in statuses]


def _thinned(values: list[float], stride: int) -> list[float]:
    means = []
    for start in range(0, len(values), stride):
        finite = [value for value in values[start : start + stride] if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def _readable(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith(("attention/", "residual/")) and "_gamma_" in name:
        network, _, size = name.partition("/")[2].partition("_gamma_")
        return f"{network.upper()} at {size}x{size}"
    return name

"""The metric over G's and D's learning rates, both axes logarithmic."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.reporting.axes import Scale, log_scale
from pipeline.reporting.heat import heat_palette
from pipeline.reporting.numbers import significant
from pipeline.reporting.studies.drawing import axis_name, opened, value_scale, x_ticks, y_ticks
from pipeline.search.ranking import varied
from pipeline.search.results import ConfigResult, StudyResults
from pipeline.search.trial_name import trial_name

SIDE = 360  # user units
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 22, 36
_PALETTE = heat_palette(32)
G_RATE, D_RATE = "train.g_lr", "train.d_lr"
PAPER_RATES = (1e-4, 4e-4)
"""G's and D's in the paper, section 4.2: TTUR; at its sizes of network and batch."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration."""

    name: str
    g_lr: float
    d_lr: float
    value: float | None
    """Mean over seeds of the newest values; None without any."""
    finished: bool
    """Whether all of its trials came to their end: only such values compare."""
    note: str
    """What became of it."""


@dataclass(frozen=True, kw_only=True)
class RateMap:
    """All configurations that differ in nothing but the rates."""

    title: str
    """The values of the other keys; empty where only the rates vary."""
    metric: str
    lower_is_better: bool
    points: tuple[Point, ...]
    lowest: float
    """Of all maps of the study together."""
    highest: float


def rate_maps(results: StudyResults) -> tuple[RateMap, ...]:
    """A map for each value of the study's other keys; none for a study not over both rates."""
    if not {G_RATE, D_RATE} <= set(varied(results)):
        return ()
    points = [_point(config) for config in results.configs]
    values = [p.value for p in points if p.value is not None]
    groups: dict[str, list[Point]] = {}
    for config, point in zip(results.configs, points, strict=True):
        groups.setdefault(trial_name(_others(config.config)), []).append(point)
    return tuple(
        RateMap(
            title=title,
            metric=results.metric,
            lower_is_better=results.mode == "min",
            points=tuple(members),
            lowest=min(values, default=0.0),
            highest=max(values, default=1.0),
        )
        for title, members in groups.items()
    )


def map_scales(chart: RateMap, left: float, right: float, bottom: float, top: float) -> list[Scale]:
    """Those of G's rate and of D's; the paper's rates are on the map where they are near."""
    scales = []
    for rates, paper, ends in (
        ([p.g_lr for p in chart.points], PAPER_RATES[0], (left, right)),
        ([p.d_lr for p in chart.points], PAPER_RATES[1], (bottom, top)),
    ):
        near = [paper] if min(rates) / 3 <= paper <= 3 * max(rates) else []
        scales.append(log_scale([*rates, *near], *ends))
    return scales


def paper_is_on(scales: Sequence[Scale]) -> bool:
    """Whether the paper's rates lie within both scales."""
    return all(0 <= s.share(rate) <= 1 for s, rate in zip(scales, PAPER_RATES, strict=True))


def colour_scale(chart: RateMap) -> Scale:
    """From the best value, 0, to the worst, 1."""
    scale = value_scale([chart.lowest, chart.highest], 0.0, 1.0)
    ends = (scale.low, scale.high) if chart.lower_is_better else (scale.high, scale.low)
    return Scale(*ends, 0.0, 1.0, log=scale.log)


def rate_map_svg(chart: RateMap) -> Markup:
    """The drawing: a disc a configuration, the darker the better; rings did not finish."""
    x, y = scales = map_scales(chart, _LEFT, SIDE - _RIGHT, SIDE - _BOTTOM, _TOP)
    shade = colour_scale(chart)
    known = sum(point.value is not None for point in chart.points)
    parts = [
        opened(SIDE, SIDE, f"{chart.metric} of {known} configurations over both learning rates"),
        y_ticks(y, _LEFT, SIDE - _RIGHT),
        x_ticks(x, SIDE - _BOTTOM, _TOP),
        axis_name("rate of G", SIDE - _RIGHT, SIDE - 4),
        axis_name("rate of D", 0, 10, "start"),
    ]
    if paper_is_on(scales):
        px, py = x(PAPER_RATES[0]), y(PAPER_RATES[1])
        parts.append(
            Markup(
                '<g class="paper"><title>the paper&#39;s rates, at its sizes</title>'
                '<path d="M{:.1f} {:.1f}h26m-13 -13v26"/>'
                '<text class="tick" x="{:.1f}" y="{:.1f}">paper</text></g>'
            ).format(px - 13, py, px + 15, py + 4)
        )
    parts += [_disc(point, x(point.g_lr), y(point.d_lr), shade) for point in chart.points]
    return Markup("").join([*parts, Markup("</svg>")])


def shade_of(value: float, shade: Scale) -> str:
    """The colour of a value, `#rrggbb`."""
    place = min(max(shade.share(value), 0.0), 1.0)
    return _PALETTE[round(place * (len(_PALETTE) - 1))]


def legend_shades(count: int = 16) -> list[str]:
    """Colours from the best value to the worst."""
    last = len(_PALETTE) - 1
    return [_PALETTE[round(i * last / (count - 1))] for i in range(count)]


def _disc(point: Point, x: float, y: float, shade: Scale) -> Markup:
    title = f"{point.name}: {point.note}"
    if point.value is None:
        return Markup(
            '<g class="lost"><title>{}</title><path d="M{:.1f} {:.1f}l8 8m0 -8l-8 8"/></g>'
        ).format(title, x - 4, y - 4)
    colour = shade_of(point.value, shade)
    if point.finished:
        place = Markup('class="disc" r="8" fill="{}"').format(colour)
    else:
        place = Markup('class="ring" r="5.5" stroke="{}"').format(colour)
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" {}><title>{}</title></circle>').format(
        x, y, place, title
    )


def _point(config: ConfigResult) -> Point:
    newest = [trial.value for trial in config.trials if trial.value is not None]
    finished = all(trial.status == "complete" for trial in config.trials)
    value = statistics.fmean(newest) if newest else None
    ends = sorted({f"{trial.status} at {trial.kimg:g} kimg" for trial in config.trials})
    known = "no value" if value is None else significant(value, 4)
    return Point(
        name=trial_name(config.config),
        g_lr=float(config.config[G_RATE]),
        d_lr=float(config.config[D_RATE]),
        value=value,
        finished=finished,
        note=f"{known}, {' and '.join(ends)}",
    )


def _others(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in (G_RATE, D_RATE)}

"""Configurations side by side: means with their intervals over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.reporting.axes import Scale
from pipeline.reporting.numbers import significant
from pipeline.reporting.studies.drawing import WIDTH, axis_name, opened, x_ticks
from pipeline.search.ranking import values_of
from pipeline.search.results import StudyResults
from pipeline.search.trial_name import trial_name

MAX_BARS = 24
_ROW, _TOP, _BOTTOM, _LEFT, _RIGHT = 30, 8, 36, 170, 74


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One configuration."""

    name: str
    mean: float | None
    """None: no trial has finished."""
    ci95: tuple[float, float] | None
    """None with fewer than two seeds."""
    values: tuple[float, ...]
    """One a seed."""
    note: str
    """Why there is no mean."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A study's configurations in the order of their making."""

    metric: str
    bars: tuple[Bar, ...]


def placement_bars(results: StudyResults) -> Bars | None:
    """For studies over a few choices; None over continuous ranges, or before the first end."""
    ranges = results.section["space"].values()
    continuous = any(values.get("loguniform") or values.get("uniform") for values in ranges)
    known = any(config.value is not None for config in results.configs)
    if continuous or len(results.configs) > MAX_BARS or not known:
        return None
    return Bars(
        metric=results.metric,
        bars=tuple(
            Bar(
                name=_name(config.config),
                mean=config.value,
                ci95=config.ci95,
                values=values_of(config),
                note=", ".join(sorted({trial.status for trial in config.trials})),
            )
            for config in results.configs
        ),
    )


def bars_svg(chart: Bars) -> Markup:
    """The drawing: a bar from 0 to the mean, a whisker for the interval, a dot for each seed."""
    height = _TOP + _ROW * len(chart.bars) + _BOTTOM
    x = bar_scale(chart, _LEFT, WIDTH - _RIGHT)
    bottom = height - _BOTTOM
    parts = [
        opened(WIDTH, height, f"{chart.metric} by configuration"),
        x_ticks(x, bottom, _TOP, 5),
        axis_name(chart.metric, WIDTH - _RIGHT, height - 4),
    ]
    for number, bar in enumerate(chart.bars):
        parts.append(_bar(bar, _TOP + _ROW * (number + 0.5), x))
    return Markup("").join([*parts, Markup("</svg>")])


def bar_scale(chart: Bars, start: float, end: float) -> Scale:
    """From 0 to the longest bar, or the end of its interval where that is not far off."""
    means = [bar.mean for bar in chart.bars if bar.mean is not None]
    values = [value for bar in chart.bars for value in bar.values]
    ends = [bar.ci95[1] for bar in chart.bars if bar.ci95 is not None]
    # An interval over two seeds can be many times its mean; it is cut off, not the bars flattened.
    high = max([*values, *(min(e, 1.6 * max(means)) for e in ends)])
    low = min(0.0, *values)
    return Scale(low, (high if high > low else low + 1) * 1.02, start, end)


def _bar(bar: Bar, y: float, x: Scale) -> Markup:
    name = Markup('<text class="label" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
        _LEFT - 8, y + 4, bar.name
    )
    if bar.mean is None:
        return name + Markup('<text class="tick" x="{}" y="{:.1f}">{}</text>').format(
            _LEFT + 6, y + 4, bar.note
        )
    zero, end = x(0.0), x(bar.mean)
    parts = [
        name,
        Markup(
            '<rect class="bar-mean" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="14" rx="2"/>'
        ).format(min(zero, end), y - 7, abs(end - zero)),
    ]
    if bar.ci95 is not None:
        low, high = (min(max(value, x.low), x.high) for value in bar.ci95)
        parts.append(
            Markup('<path class="whisker" d="M{:.1f} {:.1f}H{:.1f}{}{}"/>').format(
                x(low),
                y,
                x(high),
                _cap(x(low), y, bar.ci95[0] >= x.low),
                _cap(x(high), y, bar.ci95[1] <= x.high),
            )
        )
    parts += [
        Markup('<circle class="seed" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(x(value), y)
        for value in bar.values
    ]
    parts.append(
        Markup('<text class="label" x="{}" y="{:.1f}">{}</text>').format(
            WIDTH - _RIGHT + 8, y + 4, significant(bar.mean)
        )
    )
    return Markup("").join(parts)


def _cap(x: float, y: float, closed: bool) -> str:
    """The end of a whisker; none where the interval goes on beyond the drawing."""
    return f"M{x:.1f} {y - 5:.1f}v10" if closed else ""


def _name(config: Mapping[str, Any]) -> str:
    text = trial_name(config)
    return text.partition("=")[2] if len(config) == 1 else text

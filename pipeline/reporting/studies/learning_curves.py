"""A study's metric over training: a curve for each trial, and where trials were compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.reporting.axes import Scale, tick_label
from pipeline.reporting.studies.drawing import (
    WIDTH,
    axis_name,
    opened,
    value_scale,
    x_ticks,
    y_ticks,
)
from pipeline.search.history import Status, Trial
from pipeline.search.ranking import ranked, rungs_kimg
from pipeline.search.results import StudyResults
from pipeline.search.trial_name import trial_name

HEIGHT = 300
NUM_COLOURS = 6  # of the style sheet
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 22, 34


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(kimg, value), finite ones."""
    colour: int | None
    """Of the style sheet; None: one of many in the background."""
    status: Status


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """All of a study's."""

    metric: str
    curves: tuple[Curve, ...]
    """Those in the background first."""
    legend: tuple[tuple[str, int], ...]
    """(configuration, colour)."""
    num_grey: int
    """Configurations without a colour."""
    rungs_kimg: tuple[float, ...]
    """Where trials were compared, without the end."""
    max_kimg: float


def learning_curves(results: StudyResults) -> LearningCurves | None:
    """The best configurations in colours, the others grey; None before any report."""
    first = [config.index for config in ranked(results)]
    order = first + [c.index for c in results.configs if c.index not in first]
    names = {config.index: trial_name(config.config) for config in results.configs}
    coloured = order[:NUM_COLOURS] if len(order) <= NUM_COLOURS else order[: NUM_COLOURS - 1]
    curves = [
        Curve(
            name=trial_name(trial.config, trial.seed),
            points=_points(trial),
            colour=coloured.index(trial.index) if trial.index in coloured else None,
            status=trial.status,
        )
        for trial in results.trials
        if _points(trial)
    ]
    if not curves:
        return None
    return LearningCurves(
        metric=results.metric,
        curves=tuple(sorted(curves, key=lambda curve: curve.colour is not None)),
        legend=tuple((names[index], colour) for colour, index in enumerate(coloured)),
        num_grey=len(order) - len(coloured),
        rungs_kimg=rungs_kimg(results.section),
        max_kimg=results.section["max_kimg"],
    )


def learning_curves_svg(chart: LearningCurves) -> Markup:
    """The drawing."""
    last = max(chart.max_kimg, *(kimg for curve in chart.curves for kimg, _ in curve.points))
    x = Scale(0.0, last, _LEFT, WIDTH - _RIGHT)
    values = [value for curve in chart.curves for _, value in curve.points]
    y = value_scale(values, HEIGHT - _BOTTOM, _TOP)
    summary = f"{chart.metric} of {len(chart.curves)} trials over training"
    parts = [
        opened(WIDTH, HEIGHT, summary),
        y_ticks(y, _LEFT, WIDTH - _RIGHT),
        x_ticks(x, HEIGHT - _BOTTOM),
        axis_name("thousand images", WIDTH - _RIGHT, HEIGHT - 2),
        axis_name(chart.metric, 0, 10, "start"),
    ]
    rung = Markup(
        '<line class="rung" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
        '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">rung {4}</text>'
    )
    parts += [
        rung.format(x(kimg), _TOP, HEIGHT - _BOTTOM, _TOP - 4, tick_label(kimg))
        for kimg in chart.rungs_kimg
    ]
    parts += [_curve(curve, x, y) for curve in chart.curves]
    return Markup("").join([*parts, Markup("</svg>")])


def _curve(curve: Curve, x: Scale, y: Scale) -> Markup:
    places = [(x(kimg), y(value)) for kimg, value in curve.points]
    path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places) + _dot(places)
    colour = "rest" if curve.colour is None else f"c{curve.colour}"
    kimg, value = curve.points[-1]
    title = f"{curve.name}: {value:.4g} at {kimg:g} kimg, {curve.status}"
    return Markup('<g class="trial {}"><title>{}</title><path class="line" d="{}"/>{}</g>').format(
        colour, title, path, _end(curve.status, *places[-1])
    )


def _dot(places: Sequence[tuple[float, float]]) -> str:
    return "h0" if len(places) == 1 else ""


def _end(status: Status, x: float, y: float) -> Markup:
    """How a curve ends: a disc at its end, a bar where it was stopped, a cross where it failed."""
    if status == "complete":
        return Markup('<circle class="end" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y)
    if status == "stopped":
        return Markup('<path class="line" d="M{:.1f} {:.1f}v8"/>').format(x, y - 4)
    if status == "failed":
        return Markup('<path class="line" d="M{0:.1f} {1:.1f}l8 8m0 -8l-8 8"/>').format(
            x - 4, y - 4
        )
    return Markup("")


def _points(trial: Trial) -> tuple[tuple[float, float], ...]:
    return tuple((r.kimg, r.value) for r in trial.reports if r.value is not None)

"""A study's metric over the learning rates of G and D, both axes logarithmic."""

import statistics
from dataclasses import dataclass

import altair as alt
from altair.typing import ChartType

from pipeline.reporting.charts import is_logarithmic, log_axis, log_scale, rows, zoom
from pipeline.reporting.numbers import significant
from pipeline.reporting.studies.learning_curves import CROSS
from pipeline.search.results import ConfigResult, StudyResults, varied
from pipeline.search.space import trial_name

G_RATE, D_RATE = "train.g_lr", "train.d_lr"
PAPER_RATES = (1e-4, 4e-4)
"""G's and D's in the paper, section 4.2: TTUR; at its sizes of network and batch."""
_RING = (
    "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0Z"
    "M.55,0A.55,.55,0,1,0,-.55,0A.55,.55,0,1,0,.55,0Z"
)  # filled alone: a legend of fill and stroke would be no gradient
_SIDE = 330
_MAX_LABELS = 30  # points with their value beside them


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """One configuration."""

    name: str
    g_lr: float
    d_lr: float
    value: float | None
    """Mean over seeds of the last values; None without any."""
    finished: bool
    """Whether all of its trials were trained to the end: only such values compare."""
    outcome: str
    """`39.70, complete at 8 kimg`."""


@dataclass(frozen=True, kw_only=True)
class RateMap:
    """All configurations that differ in nothing but the rates."""

    title: str
    """The values of the other keys; empty where only the rates vary."""
    metric: str
    lower_is_better: bool
    points: tuple[RatePoint, ...]
    lowest: float
    """Of all maps of the study together, as is `highest`."""
    highest: float


def rate_maps(results: StudyResults) -> tuple[RateMap, ...]:
    """A map for each value of the study's other keys; none for a study not over both rates."""
    if not {G_RATE, D_RATE} <= set(varied(results)):
        return ()
    groups: dict[str, list[RatePoint]] = {}
    for config in results.configs:
        others = {key: v for key, v in config.config.items() if key not in (G_RATE, D_RATE)}
        groups.setdefault(trial_name(others), []).append(_point(config))
    values = [p.value for points in groups.values() for p in points if p.value is not None]
    return tuple(
        RateMap(
            title=title,
            metric=results.metric,
            lower_is_better=results.mode == "min",
            points=tuple(points),
            lowest=min(values, default=0.0),
            highest=max(values, default=1.0),
        )
        for title, points in groups.items()
    )


def rate_map_chart(chart: RateMap, *, interactive: bool = False) -> ChartType:
    """A disc for each finished configuration, a ring for others with a value, a cross for the rest.

    The darker the better. The paper's rates are marked where they are near.
    """
    near = all(
        min(rates) / 3 <= paper <= 3 * max(rates)
        for rates, paper in zip(_rates(chart), PAPER_RATES, strict=True)
    )
    g_rates, d_rates = (
        [*rates, paper] if near else rates
        for rates, paper in zip(_rates(chart), PAPER_RATES, strict=True)
    )
    base = alt.Chart().encode(
        x=alt.X(
            "g_lr:Q", title="learning rate of G", scale=log_scale(g_rates), axis=log_axis("~e")
        ),
        y=alt.Y(
            "d_lr:Q", title="learning rate of D", scale=log_scale(d_rates), axis=log_axis("~e")
        ),
        tooltip=[alt.Tooltip("name:N", title="rates"), alt.Tooltip("outcome:N")],
    )
    colour = alt.Color(
        "value:Q",
        scale=_colour_scale(chart),
        legend=alt.Legend(
            orient="bottom",
            title=chart.metric,
            gradientLength=180,
            values=[chart.lowest, chart.highest],
            format=",.4r",
        ),
    )
    valued = base.transform_filter("isValid(datum.value)")
    layers = [
        valued.transform_filter("datum.finished")
        .mark_circle(size=200, opacity=1, stroke="var(--ink)", strokeWidth=0.8)
        .encode(color=colour),
        valued.transform_filter("!datum.finished")
        .mark_point(shape=_RING, size=170, opacity=1, filled=True)
        .encode(color=colour),
        base.transform_filter("!isValid(datum.value)").mark_point(
            shape=CROSS, size=50, opacity=1, color="var(--muted)", filled=True
        ),
    ]
    if len(chart.points) <= _MAX_LABELS:
        layers.append(
            valued.mark_text(align="left", dx=9, dy=-7, fontSize=10).encode(
                text=alt.Text("value:Q", format=",.3r")
            )
        )
    if near:
        layers += _paper(base)
    if interactive:
        layers[0] = layers[0].add_params(zoom()).properties(name="finished")
    return alt.layer(
        *layers,
        data=rows(vars(point) for point in chart.points),
        width=_SIDE,
        height=_SIDE,
        title=chart.title,
        description=f"{chart.metric} of {len(chart.points)} configurations over both rates",
    )


def _rates(chart: RateMap) -> tuple[list[float], list[float]]:
    return [p.g_lr for p in chart.points], [p.d_lr for p in chart.points]


def _colour_scale(chart: RateMap) -> alt.Scale:
    low, high = chart.lowest, chart.highest
    if low == high:
        high = low + (abs(low) or 1.0)
    return alt.Scale(
        type="log" if is_logarithmic([low, high]) else "linear",
        domain=[low, high],
        # The ends of the scheme are too dark and too bright for the page's two schemes.
        scheme=alt.SchemeParams(name="plasma", extent=[0.15, 0.9]),
        reverse=not chart.lower_is_better,
    )


def _paper(base: alt.Chart) -> list[alt.Chart]:
    g_lr, d_lr = PAPER_RATES
    row = {"g_lr": g_lr, "d_lr": d_lr, "name": "the paper's rates, at its sizes", "outcome": ""}
    mark = base.properties(data=rows([row]))
    return [
        mark.mark_point(
            shape="M-1,0H1M0,-1V1", size=500, opacity=1, color="var(--muted)", strokeWidth=1.6
        ),
        mark.mark_text(text="paper", align="left", dx=15, dy=5, color="var(--muted)"),
    ]


def _point(config: ConfigResult) -> RatePoint:
    last = [trial.value for trial in config.trials if trial.value is not None]
    value = statistics.fmean(last) if last else None
    ends = sorted({f"{trial.status} at {trial.kimg:g} kimg" for trial in config.trials})
    known = "no value" if value is None else significant(value, 4)
    return RatePoint(
        name=trial_name(config.config),
        g_lr=float(config.config[G_RATE]),
        d_lr=float(config.config[D_RATE]),
        value=value,
        finished=all(trial.status == "complete" for trial in config.trials),
        outcome=f"{known}, {' and '.join(ends)}",
    )

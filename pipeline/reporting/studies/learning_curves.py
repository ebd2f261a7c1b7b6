"""A study's metric over training: its trials, their means over seeds, and where they ended."""

from typing import Any

import altair as alt
from altair.typing import ChartType

from pipeline.reporting.charts import (
    NUM_COLOURS,
    category,
    legend_columns,
    rows,
    value_axis,
    value_encoding,
    zoom,
)
from pipeline.reporting.studies.rows import STATUS_NAMES
from pipeline.search.journal import Status
from pipeline.search.results import StudyResults, ranked, rungs_kimg
from pipeline.search.space import trial_name

CROSS = "M-1,-.7L-.7,-1L0,-.3L.7,-1L1,-.7L.3,0L1,.7L.7,1L0,.3L-.7,1L-1,.7L-.3,0Z"
"""An SVG path, as a shape of Vega's."""
_END_SHAPES: dict[Status, str] = {
    "complete": "circle",
    "stopped": "M-.25,-1.2h.5v2.4h-.5Z",
    "failed": CROSS,
}
_WIDTH = 600


def learning_curves(results: StudyResults, *, interactive: bool = False) -> ChartType | None:
    """A thin line for each trial and a thick one for each mean over seeds; None before a report.

    The best configurations are in colour, the others grey. A mean is shown where all seeds of the
    configuration have a value. Vertical lines are the rungs of successive halving.
    """
    names = {config.index: trial_name(config.config) for config in results.configs}
    order = [config.index for config in ranked(results)]
    order += [index for index in names if index not in order]
    coloured = order if len(order) <= NUM_COLOURS else order[: NUM_COLOURS - 1]
    others = f"{len(order) - len(coloured)} others"
    table: list[dict[str, Any]] = [
        {
            "trial": trial_name(trial.config, trial.seed),
            "config": names[trial.index] if trial.index in coloured else others,
            "kimg": report.kimg,
            "value": report.value,
            "status": STATUS_NAMES[trial.status],
            "is_last": report is reports[-1],
            "num_seeds": len(results.section["seeds"]),
        }
        # The others first: later lines cover earlier ones.
        for trial in sorted(results.trials, key=lambda trial: trial.index in coloured)
        for reports in [[report for report in trial.reports if report.value is not None]]
        for report in reports
    ]
    if not table:
        return None
    legend = [names[index] for index in coloured] + [others] * (len(coloured) < len(order))
    colours = [category(i) for i in range(len(coloured))] + ["var(--line)"]
    colour_scale = alt.Scale(domain=legend, range=colours[: len(legend)])
    columns = legend_columns(legend, None if interactive else _WIDTH)
    base = alt.Chart().encode(
        x=alt.X(
            "kimg:Q",
            title="thousand images",
            scale=alt.Scale(domain=[0, 1.02 * max(row["kimg"] for row in table)], nice=False),
            axis=value_axis(),
        ),
        y=alt.Y("value:Q", title=results.metric, **value_encoding([row["value"] for row in table])),
        color=alt.Color(
            "config:N",
            scale=colour_scale,
            legend=alt.Legend(columns=columns, symbolType="stroke"),
        ),
    )
    ended = [status for status in _END_SHAPES if any(t.status == status for t in results.trials)]
    shape = alt.Shape(
        "status:N",
        scale=alt.Scale(
            domain=[STATUS_NAMES[status] for status in ended],
            range=[_END_SHAPES[status] for status in ended],
        ),
        legend=alt.Legend(symbolFillColor="var(--muted)", symbolStrokeColor="var(--muted)"),
    )
    several = len(results.section["seeds"]) > 1
    line = base.mark_line(strokeWidth=1, opacity=0.6) if several else base.mark_line()
    means = (
        base.transform_filter(alt.datum.config != others)
        .transform_aggregate(
            value="mean(value)",
            num="count()",
            num_seeds="max(num_seeds)",
            groupby=["config", "kimg"],
        )
        .transform_filter("datum.num == datum.num_seeds")
        .mark_line(strokeWidth=2.5)
    )
    ends = (
        base.transform_filter("datum.is_last && datum.status != 'unfinished'")
        .mark_point(filled=True, opacity=1, size=50)
        .encode(shape=shape)
    )
    layers = [*_rungs(results), line.encode(detail="trial:N"), *([means] if several else []), ends]
    if interactive:
        layers.append(_trial_tooltip(base, results.metric))
    return alt.layer(
        *layers,
        data=rows(table),
        width=_WIDTH,
        height=280,
        description=f"{results.metric} of {len(results.trials)} trials over training",
    )


def _rungs(results: StudyResults) -> list[alt.Chart]:
    table = [{"kimg": kimg, "name": f"rung {kimg:g}"} for kimg in rungs_kimg(results.section)]
    if not table:
        return []
    base = alt.Chart(rows(table)).encode(x="kimg:Q")
    return [
        base.mark_rule(strokeDash=[3, 3]),
        base.mark_text(align="left", dx=4, dy=6, color="var(--muted)").encode(
            y=alt.value(0), text="name:N"
        ),
    ]


def _trial_tooltip(base: alt.Chart, metric: str) -> alt.Chart:
    """Reports of trials, visible under the pointer alone."""
    hover = alt.selection_point(name="hover", on="pointerover", clear="pointerout")
    return (
        base.mark_point(filled=True, size=90)
        .encode(
            opacity=alt.when(hover, empty=False).then(alt.value(1)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip("trial:N"),
                alt.Tooltip("kimg:Q", title="thousand images", format=",.4~r"),
                alt.Tooltip("value:Q", title=metric, format=",.4r"),
                alt.Tooltip("status:N"),
            ],
        )
        .add_params(hover, zoom())
        .properties(name="reports")
    )

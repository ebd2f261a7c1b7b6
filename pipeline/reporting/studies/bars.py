"""A study's configurations side by side: means with their intervals over seeds."""

from typing import Any

import altair as alt
from altair.typing import ChartType

from pipeline.reporting.charts import rows, value_axis
from pipeline.reporting.numbers import significant
from pipeline.reporting.studies.rows import interval_text
from pipeline.search.results import ConfigResult, StudyResults, values_of
from pipeline.search.space import trial_name

MAX_BARS = 24


def configuration_bars(results: StudyResults) -> ChartType | None:
    """A bar from 0 to each mean, a line for its 95 % interval and a dot for each seed.

    In the order of their making. None for a study over continuous ranges, over too many
    configurations, or without a finished trial.
    """
    ranges = results.section["space"].values()
    continuous = any(values.get("loguniform") or values.get("uniform") for values in ranges)
    means = [config.value for config in results.configs if config.value is not None]
    if continuous or len(results.configs) > MAX_BARS or not means:
        return None
    low, high = _limits(results, means)
    names = [_name(config) for config in results.configs]
    x = alt.X(
        "value:Q",
        title=results.metric,
        # Room for the mean's number behind the bar.
        scale=alt.Scale(domain=[low, high + 0.15 * (high - low)], nice=False),
        axis=value_axis(),
    )
    y = alt.Y(
        "name:N",
        title=None,
        scale=alt.Scale(domain=names, paddingInner=0.45),
        axis=alt.Axis(
            grid=False, labelColor="var(--ink)", labelLimit=alt.ExprRef(expr="width * 0.4")
        ),
    )
    base = alt.Chart().encode(y=y)
    valued = base.transform_filter("isValid(datum.value)")
    interval = base.transform_filter("isValid(datum.low)")
    seeds = [{"name": _name(c), "value": v} for c in results.configs for v in values_of(c)]
    number = valued.mark_text(align="left", dx=7).encode(x="end:Q", text="mean:N")
    return alt.layer(
        valued.mark_bar(color="var(--c0)", opacity=0.8).encode(
            x=x,
            tooltip=[
                alt.Tooltip("name:N", title="configuration"),
                alt.Tooltip("mean:N", title=results.metric),
                alt.Tooltip("interval:N", title="95 % interval"),
                alt.Tooltip("seeds:N", title="values of the seeds"),
            ],
        ),
        interval.mark_rule(color="var(--ink)", strokeWidth=1.4).encode(x="low:Q", x2="high:Q"),
        *(
            interval.transform_filter(f"datum.{side}_is_whole")
            .mark_tick(color="var(--ink)", thickness=1.4, size=10)
            .encode(x=f"{side}:Q")
            for side in ("low", "high")
        ),
        alt.Chart(rows(seeds))
        .mark_point(size=26, filled=True, fill="var(--paper)", stroke="var(--ink)", opacity=1)
        .encode(x="value:Q", y="name:N"),
        number,
        base.transform_filter("!isValid(datum.value)")
        .mark_text(align="left", dx=6, color="var(--muted)")
        .encode(x=alt.XDatum(0.0), text="outcome:N"),
        data=rows(_row(config, low, high) for config in results.configs),
        width=600,
        height=30 * len(names),
        description=f"{results.metric} by configuration",
    )


def _row(config: ConfigResult, low: float, high: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": _name(config),
        "value": config.value,
        "mean": "" if config.value is None else significant(config.value),
        "outcome": ", ".join(sorted({trial.status for trial in config.trials})),
        "interval": interval_text(config.ci95) or "one seed: none",
        "seeds": ", ".join(significant(value, 4) for value in values_of(config)),
        "end": max([0.0, *values_of(config)]),
    }
    if config.ci95 is not None:
        ends = tuple(min(max(value, low), high) for value in config.ci95)
        row |= {"low": ends[0], "high": ends[1], "end": max(row["end"], ends[1])}
        row |= {"low_is_whole": config.ci95[0] >= low, "high_is_whole": config.ci95[1] <= high}
    return row


def _limits(results: StudyResults, means: list[float]) -> tuple[float, float]:
    """From 0 to the longest bar, or the end of its interval where that is not far beyond."""
    values = [value for config in results.configs for value in values_of(config)]
    ends = [config.ci95[1] for config in results.configs if config.ci95 is not None]
    # An interval over two seeds can be many times its mean: it is cut, or bars would be flat.
    high = max([*values, *(min(end, 1.6 * max(means)) for end in ends)])
    low = min(0.0, *values)
    return low, high if high > low else low + 1


def _name(config: ConfigResult) -> str:
    text = trial_name(config.config)
    return text.partition("=")[2] if len(config.config) == 1 else text

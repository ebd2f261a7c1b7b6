"""How MLflow's page of an experiment shows a study: columns, sorting and charts, ready made.

MLflow keeps such a view as a tag of the experiment, under a key that its address names. The layout
is MLflow's own and no promise of it (3.17's `ExperimentRunsChartsUIConfiguration`); a version that
does not know it says so in a line and shows its plain table.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

VIEW_KEY = "study"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
CONFIG_PREFIX = "config/"
"""Of the parameters that set a study's trials apart: it sorts them before all others."""

_SECTION = "study"


def view_address(experiment: str) -> str:
    """Where the view is, after MLflow's address."""
    return f"/#/experiments/{experiment}/runs?viewStateShareKey={VIEW_KEY}&compareRunsMode=CHART"


def study_view(
    metric: str,
    keys: Sequence[str],
    summaries: Sequence[str],
    *,
    lower_is_better: bool,
    plane: tuple[str, str] | None = None,
) -> str:
    """The value of VIEW_TAG for trials with parameters `config/<key>`.

    `metric` is what they report over training, `summaries` are the metrics that sum each up, the
    one to compare by first; `plane` names two keys with numbers for values, for a map.
    """
    params = [f"{CONFIG_PREFIX}{key}" for key in keys]
    charts = [
        _chart("PARALLEL", "axes", selectedParams=params, selectedMetrics=[summaries[0]]),
        _chart(
            *("LINE", "curves"),
            metricKey=metric,
            selectedMetricKeys=[metric],
            xAxisKey="step",
            lineSmoothness=0,
            useGlobalLineSmoothing=False,
        ),
        _chart("BAR", "bars", metricKey=summaries[0]),
    ]
    if plane is not None:
        x, y = ({"key": f"{CONFIG_PREFIX}{key}", "type": "PARAM"} for key in plane)
        z = {"key": summaries[0], "type": "METRIC"}
        charts.append(_chart("CONTOUR", "map", xaxis=x, yaxis=y, zaxis=z))
    columns = [*(f"params.`{key}`" for key in params), *(f"metrics.`{key}`" for key in summaries)]
    state = {
        "orderByKey": f"metrics.`{summaries[0]}`",
        "orderByAsc": lower_is_better,
        # Names a trial's tag: the study's own run has none.
        "searchFilter": "tags.trial LIKE '%'",
        "selectedColumns": [*columns, "tags.`trial_status`", "attributes.`Duration`"],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": _SECTION, "name": "study", "display": True, "isReordered": True}
        ],
        "isAccordionReordered": True,
    }
    return json.dumps(state, separators=(",", ":"))


def _chart(kind: str, name: str, **content: Any) -> Mapping[str, Any]:
    return {
        "uuid": f"{_SECTION}-{name}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        **content,
    }

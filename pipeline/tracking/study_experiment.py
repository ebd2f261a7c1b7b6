"""The MLflow experiment of a study: its runs' tags, and the view that its page opens with.

MLflow keeps a shared view of an experiment's page as a tag. The format is private
(`ExperimentRunsChartsUIConfiguration` of 3.17): a version that cannot read it shows a message and
its plain table.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.tracking.connection import (
    connect,
    experiment_id,
    resolve_uri,
    warn_on_error,
    without_credentials,
)
from pipeline.tracking.sync import RunSync

STUDY_TAG = "study"
TRIAL_TAG = "trial"
SEED_TAG = "seed"
FORMER_TRIAL_TAG = "former_trial"
"""In place of TRIAL_TAG after a study was restarted; the study's view does not show such runs."""
VIEW_KEY = "study"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
CONFIG_PREFIX = "config/"
"""Of the parameters in which a study's trials differ; MLflow sorts them before all others."""

_SECTION = "study"


def prepare_experiment(uri: str | None, name: str, view: str) -> None:
    """Creates the store and the experiment where they are missing; `view` is from `study_view`.

    If the server does not answer, the trials run and their records are sent later. Raises UserError
    for an invalid address.
    """
    address = resolve_uri(uri)
    consequence = "the trials' records are kept and sent when it does"
    with warn_on_error(address, "does not answer", consequence):
        client = connect(address)
        client.set_experiment_tag(experiment_id(client, address, name), VIEW_TAG, view)


def retire_trials(uri: str | None, run_ids: Iterable[str]) -> None:
    """Removes the runs of a restarted study from its view; MLflow errors are printed to stderr."""
    address = resolve_uri(uri)
    with warn_on_error(address, "still shows earlier trials beside the new ones"):
        client = connect(address)
        for id in run_ids:
            trial = client.get_run(id).data.tags.get(TRIAL_TAG)
            if trial is not None:
                client.set_tag(id, FORMER_TRIAL_TAG, trial)
                client.delete_tag(id, TRIAL_TAG)


def shown_address(uri: str | None) -> str:
    """The address for a browser: the server's, else that of `make ui`."""
    address = resolve_uri(uri)
    if address.startswith("http"):
        return without_credentials(address).rstrip("/")
    return "`make ui`, then http://127.0.0.1:5000"


def run_id_of(run_dir: Path, uri: str | None, experiment: str, total_nimg: int) -> str | None:
    """MLflow's id of the run of a run folder; None before it is created."""
    sync = RunSync.load(run_dir, resolve_uri(uri), experiment, total_nimg)
    return None if sync is None else sync.progress.run_id


def view_address(experiment: str) -> str:
    """The path of the view, after MLflow's address."""
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

    `metric` is the one reported during training, `summaries` are single values of each trial, the
    one to sort by first; `plane` names two keys with numeric values, for a contour chart.
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
        # The study's own run does not have this tag.
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

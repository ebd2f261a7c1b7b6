"""A study in MLflow: one experiment, a run for each trial, and one for the study as a whole.

The study's folder is the truth: whatever a server missed is sent by the next call for it. Trials
are runs of their own and not children of one, for MLflow's table folds children away and its charts
then show the parent alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.tracking.connection import (
    connect,
    experiment_id,
    forgiving,
    resolve_uri,
)
from pipeline.tracking.jsonl import STATS_NAME
from pipeline.tracking.mirror import STATUSES, Mirror
from pipeline.tracking.run_identity import RunIdentity
from pipeline.tracking.study_runs import SEED_TAG, STUDY_TAG, TRIAL_TAG
from pipeline.tracking.study_view import VIEW_TAG, view_address
from pipeline.tracking.tracker import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STATUS_TAG = "trial_status"
ROLE_TAG = "role"
IDENTITY_TAG = "study_identity"
STUDY_ROLE = "study"
PREFIX = "study/"
"""Of the metrics that sum a trial or a study up."""

TrialStatus = Literal["complete", "stopped", "failed", "unfinished"]
_OUTCOMES: Mapping[TrialStatus, Outcome] = {
    "complete": "finished",
    "stopped": "preempted",
    "failed": "failed",
    "unfinished": "preempted",
}


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial whose run is to be brought up to date."""

    id: str
    seed: int
    status: TrialStatus
    nimg: int
    """Real images seen at its newest report."""
    value: float | None
    """The study's metric there."""
    run_dir: Path | None
    """None for a trial that never began."""


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """What the study's own run says."""

    name: str
    identity: str
    """Digest of what it is a study of: another study of this name has a run of its own."""
    is_finished: bool
    num_over: int
    """Trials that are over: the step of the metrics."""
    written_s: float
    """When the study last changed, seconds since the epoch."""
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Without prefix."""
    view: str
    """What `study_view` gives."""
    files: Sequence[Path] = ()
    pictures: Sequence[Path] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What MLflow holds of a study."""

    run_ids: Mapping[str, str]
    """By trial, of those that have a run."""
    view: str | None
    """Where the study is, after MLflow's address; None if it failed."""


def sync_study(
    summary: StudySummary, trials: Sequence[TrialSummary], *, uri: str | None, experiment: str
) -> Synced:
    """Sends what MLflow lacks of a study whose processes have ended.

    Each trial's records, its last value as `study/value`, and a status that is no longer RUNNING;
    of the study its figures, files and pictures. Twice is as once. A store that fails costs a line
    on stderr, no more; UserError for an address that is none.
    """
    address = resolve_uri(uri)
    run_ids: dict[str, str] = {}
    identities = {trial.id: _identity(trial.run_dir, address, experiment) for trial in trials}
    known = {id: identity.progress.run_id for id, identity in identities.items() if identity}
    run_ids |= {id: run_id for id, run_id in known.items() if run_id is not None}

    view: str | None = None
    outlook = "the next call for it sends what is missing"
    with forgiving(address, "did not take all of the study", outlook):
        client = connect(address)
        id = experiment_id(client, address, experiment)
        runs = _runs(client, id)
        for trial in trials:
            identity = identities[trial.id]
            if identity is not None and not _is_told(runs, trial, identity):
                run_ids[trial.id] = _send_trial(client, summary.name, trial, identity)
        _send_summary(client, id, summary)
        view = view_address(id)
    return Synced(run_ids=run_ids, view=view)


def _identity(run_dir: Path | None, uri: str, experiment: str) -> RunIdentity | None:
    """That of the run's newest length in this store and experiment."""
    if run_dir is None:
        return None
    lengths = set()
    for path in run_dir.glob("mlflow-*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            lengths.add(int(content["description"]["total_nimg"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # torn: the run's next start makes it anew
    for length in sorted(lengths, reverse=True):
        identity = RunIdentity.load(run_dir, uri, experiment, length)
        if identity is not None:
            return identity
    return None


def _runs(client: "MlflowClient", experiment: str) -> "dict[str, Run]":
    """All runs of an experiment by id, in few requests."""
    runs: dict[str, Run] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            return runs


def _is_told(runs: "Mapping[str, Run]", trial: TrialSummary, identity: RunIdentity) -> bool:
    """Whether MLflow holds all of a trial, its end included."""
    progress = identity.progress
    run = runs.get(progress.run_id or "")
    return (
        run is not None
        and progress.ended
        and run.info.status == STATUSES[_OUTCOMES[trial.status]]
        and run.data.tags.get(STATUS_TAG) == trial.status
        and run.data.tags.get(TRIAL_TAG) == trial.id
        and run.data.metrics.get(f"{PREFIX}kimg") == trial.nimg / 1000
        and Mirror(identity).num_pending() == 0
    )


def _send_trial(
    client: "MlflowClient", study: str, trial: TrialSummary, identity: RunIdentity
) -> str:
    from mlflow.entities import Metric, RunTag

    outcome = _OUTCOMES[trial.status]
    if identity.progress.outcome != outcome:
        identity.progress.outcome = outcome
        identity.progress.ended = False
    mirror = Mirror(identity)
    _, run_id = mirror.open()
    mirror.send_records()
    tags = {
        STUDY_TAG: study,
        TRIAL_TAG: trial.id,
        SEED_TAG: str(trial.seed),
        STATUS_TAG: trial.status,
    }
    values = {"kimg": trial.nimg / 1000}
    if trial.value is not None:
        values["value"] = trial.value
    time_ms = round(1000 * _written_s(identity))
    client.log_batch(
        run_id,
        metrics=[Metric(f"{PREFIX}{k}", v, time_ms, trial.nimg) for k, v in values.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    mirror.send_end()
    return run_id


def _written_s(identity: RunIdentity) -> float:
    """When the run's last record was written: of two equal points MLflow keeps one."""
    return (identity.folder / STATS_NAME).stat().st_mtime


def _send_summary(client: "MlflowClient", experiment: str, summary: StudySummary) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client.set_experiment_tag(experiment, VIEW_TAG, summary.view)
    found = client.search_runs(
        [experiment],
        f"tags.{ROLE_TAG} = '{STUDY_ROLE}' and tags.{IDENTITY_TAG} = '{summary.identity}'",
        max_results=1,
    )
    run = found[0] if found else client.create_run(experiment, run_name=f"study {summary.name}")
    run_id = run.info.run_id
    missing = [Param(k, v) for k, v in summary.params.items() if k not in run.data.params]
    client.log_batch(
        run_id,
        metrics=[
            Metric(f"{PREFIX}{name}", value, round(1000 * summary.written_s), summary.num_over)
            for name, value in summary.metrics.items()
        ],
        params=missing,
        tags=[
            RunTag(ROLE_TAG, STUDY_ROLE),
            RunTag(STUDY_TAG, summary.name),
            RunTag(IDENTITY_TAG, summary.identity),
        ],
    )
    for file in summary.files:
        client.log_artifact(run_id, str(file))
    for picture in summary.pictures:
        client.log_artifact(run_id, str(picture), "pictures")
    client.set_terminated(run_id, "FINISHED" if summary.is_finished else "KILLED")

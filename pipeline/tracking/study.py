"""Sends a study to MLflow: one experiment with a run for each trial and one for the study.

The study's folder is the source: the next call sends what a server missed. Trials are not child
runs, because MLflow's table folds children away and its charts then show the parent only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.connection import (
    connect,
    experiment_id,
    resolve_uri,
    warn_on_error,
)
from pipeline.tracking.jsonl import STATS_NAME
from pipeline.tracking.study_experiment import (
    SEED_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    VIEW_TAG,
    view_address,
)
from pipeline.tracking.sync import STATUSES, RunSync
from pipeline.tracking.tracker import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STATUS_TAG = "trial_status"
ROLE_TAG = "role"
IDENTITY_TAG = "study_identity"
STUDY_ROLE = "study"
PREFIX = "study/"
"""Of the metrics that summarise a trial or a study."""


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """The state of one trial."""

    id: str
    seed: int
    status: str
    """The study's word for how far it is, such as `stopped`."""
    outcome: Outcome
    nimg: int
    """Real images seen at its last report."""
    value: float | None
    """The study's metric there."""
    run_dir: Path | None
    """None for a trial that never started."""


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """The content of the study's own run."""

    name: str
    identity: str
    """Digest of the study's identity: another study of this name has a run of its own."""
    is_finished: bool
    num_over: int
    """Trials that are over: the step of the metrics."""
    written_s: float
    """When the study last changed, seconds since the epoch."""
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Without prefix."""
    view: str
    """From `study_view`."""
    files: Sequence[Path] = ()
    pictures: Sequence[Path] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What MLflow has of a study."""

    run_ids: Mapping[str, str]
    """By trial, of those that have a run."""
    view: str | None
    """The path of its view, after MLflow's address; None if the sync failed."""


def sync_study(
    summary: StudySummary, trials: Sequence[TrialSummary], *, uri: str | None, experiment: str
) -> Synced:
    """Sends what MLflow lacks of a study whose processes have ended; repeated calls change nothing.

    Of each trial: its records, its last value as `study/value`, and its final status. Of the study:
    its metrics, files and pictures. MLflow errors are printed to stderr. Raises UserError for an
    invalid address.
    """
    address = resolve_uri(uri)
    run_ids: dict[str, str] = {}
    syncs = {trial.id: _load_sync(trial.run_dir, address, experiment) for trial in trials}
    known = {id: sync.progress.run_id for id, sync in syncs.items() if sync}
    run_ids |= {id: run_id for id, run_id in known.items() if run_id is not None}

    view: str | None = None
    consequence = "the next call for it sends what is missing"
    with warn_on_error(address, "did not take all of the study", consequence):
        client = connect(address)
        id = experiment_id(client, address, experiment)
        runs = _runs(client, id)
        for trial in trials:
            sync = syncs[trial.id]
            if sync is not None and not _is_complete(runs, trial, sync):
                run_ids[trial.id] = _send_trial(client, summary.name, trial, sync)
        _send_summary(client, id, summary)
        view = view_address(id)
    return Synced(run_ids=run_ids, view=view)


def _load_sync(run_dir: Path | None, uri: str, experiment: str) -> RunSync | None:
    """That of the run's greatest length in this store and experiment."""
    if run_dir is None:
        return None
    lengths = set()
    for path in run_dir.glob("mlflow-*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            lengths.add(int(content["description"]["total_nimg"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: the run's next start creates it again
    for length in sorted(lengths, reverse=True):
        sync = RunSync.load(run_dir, uri, experiment, length)
        if sync is not None:
            return sync
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


def _is_complete(runs: "Mapping[str, Run]", trial: TrialSummary, sync: RunSync) -> bool:
    """Whether MLflow has all of a trial, its end included."""
    progress = sync.progress
    run = runs.get(progress.run_id or "")
    return (
        run is not None
        and progress.ended
        and run.info.status == STATUSES[trial.outcome]
        and run.data.tags.get(STATUS_TAG) == trial.status
        and run.data.tags.get(TRIAL_TAG) == trial.id
        and run.data.metrics.get(f"{PREFIX}kimg") == trial.nimg / 1000
        and sync.num_unsent() == 0
    )


def _send_trial(client: "MlflowClient", study: str, trial: TrialSummary, sync: RunSync) -> str:
    from mlflow.entities import Metric, RunTag

    if sync.progress.outcome != trial.outcome:
        sync.progress.outcome = trial.outcome
        sync.progress.ended = False
    _, run_id = sync.open()
    sync.send_records()
    tags = {
        STUDY_TAG: study,
        TRIAL_TAG: trial.id,
        SEED_TAG: str(trial.seed),
        STATUS_TAG: trial.status,
    }
    values = {"kimg": trial.nimg / 1000}
    if trial.value is not None:
        values["value"] = trial.value
    time_ms = round(1000 * _written_s(sync))
    client.log_batch(
        run_id,
        metrics=[Metric(f"{PREFIX}{k}", v, time_ms, trial.nimg) for k, v in values.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    sync.send_end()
    return run_id


def _written_s(sync: RunSync) -> float:
    """When the run's last record was written: MLflow keeps one of two equal points."""
    return (sync.folder / STATS_NAME).stat().st_mtime


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

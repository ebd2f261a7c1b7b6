"""The MLflow runs of a study: one experiment for all, made before many processes use it."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.tracking.connection import (
    connect,
    experiment_id,
    forgiving,
    resolve_uri,
    without_credentials,
)
from pipeline.tracking.run_identity import RunIdentity
from pipeline.tracking.study_view import VIEW_TAG

STUDY_TAG = "study"
TRIAL_TAG = "trial"
SEED_TAG = "seed"
FORMER_TRIAL_TAG = "former_trial"
"""In the place of TRIAL_TAG once a study was begun anew; the view of the study shows none."""


def prepare_experiment(uri: str | None, name: str, view: str) -> None:
    """Makes the store and the experiment where they are missing; `view` is of `study_view`.

    A server that does not answer costs no trial: what it misses is sent later. Raises UserError for
    an address that is none.
    """
    address = resolve_uri(uri)
    outlook = "the trials' records are kept and sent when it does"
    with forgiving(address, "does not answer", outlook):
        client = connect(address)
        client.set_experiment_tag(experiment_id(client, address, name), VIEW_TAG, view)


def retire_trials(uri: str | None, run_ids: Iterable[str]) -> None:
    """Takes runs of a study that is begun anew out of its view; a server may fail to."""
    address = resolve_uri(uri)
    with forgiving(address, "still shows earlier trials beside the new ones"):
        client = connect(address)
        for id in run_ids:
            trial = client.get_run(id).data.tags.get(TRIAL_TAG)
            if trial is not None:
                client.set_tag(id, FORMER_TRIAL_TAG, trial)
                client.delete_tag(id, TRIAL_TAG)


def shown_address(uri: str | None) -> str:
    """Where a browser finds the store: a server itself, else `make ui`'s pages."""
    address = resolve_uri(uri)
    if address.startswith("http"):
        return without_credentials(address).rstrip("/")
    return "`make ui`, then http://127.0.0.1:5000"


def run_id_of(run_dir: Path, uri: str | None, experiment: str, total_nimg: int) -> str | None:
    """MLflow's id of the run that mirrors a run folder; None before there is one."""
    identity = RunIdentity.load(run_dir, resolve_uri(uri), experiment, total_nimg)
    return None if identity is None else identity.progress.run_id

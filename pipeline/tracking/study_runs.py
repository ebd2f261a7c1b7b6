"""The MLflow runs of a study: one experiment for all, made before many processes use it."""

import sys
from pathlib import Path

from pipeline.tracking.connection import (
    connect,
    experiment_id,
    reason,
    resolve_uri,
    without_credentials,
)
from pipeline.tracking.run_identity import RunIdentity
from pipeline.tracking.study_view import VIEW_TAG

STUDY_TAG = "study"
TRIAL_TAG = "trial"
SEED_TAG = "seed"


def prepare_experiment(uri: str | None, name: str, view: str) -> None:
    """Makes the store and the experiment where they are missing; `view` is of `study_view`.

    A server that does not answer costs no trial: what it misses is sent later. Raises UserError for
    an address that is none.
    """
    address = resolve_uri(uri)
    try:
        client = connect(address)
        id = experiment_id(client, address, name)
        client.set_experiment_tag(id, VIEW_TAG, view)
    except Exception as error:  # whatever ails MLflow, the study goes on
        print(
            f"mlflow at {without_credentials(address)} does not answer: {reason(error)}; the "
            "trials' records are kept and sent when it does",
            file=sys.stderr,
        )


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

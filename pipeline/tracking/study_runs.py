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

STUDY_TAG = "study"
TRIAL_TAG = "trial"


def prepare_experiment(uri: str | None, name: str) -> str | None:
    """Makes the store and the experiment where they are missing; the experiment's id.

    None where the server does not answer, which costs no trial: what it misses is sent later.
    Raises UserError for an address that is none.
    """
    address = resolve_uri(uri)
    try:
        return experiment_id(connect(address), address, name)
    except Exception as error:  # whatever ails MLflow, the study goes on
        print(
            f"mlflow at {without_credentials(address)} does not answer: {reason(error)}; the "
            "trials' records are kept and sent when it does",
            file=sys.stderr,
        )
        return None


def run_id_of(run_dir: Path, uri: str | None, experiment: str, total_nimg: int) -> str | None:
    """MLflow's id of the run that mirrors a run folder; None before there is one."""
    identity = RunIdentity.load(run_dir, resolve_uri(uri), experiment, total_nimg)
    return None if identity is None else identity.progress.run_id

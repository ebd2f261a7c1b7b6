"""Where MLflow lives, and a client for it: the named address, else a SQLite store in this folder.

Importing mlflow takes seconds and is left to `connect`, so that naming an address costs nothing.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.core.errors import UserError
from pipeline.storage.locks import WAIT, locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")

# For the SDK, where the user has not said otherwise: no reports to its makers, no lines in the
# midst of a progress bar, and a dead server is noticed at once (the mirror is what tries again).
_SDK_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def resolve_uri(uri: str | None) -> str:
    """The address itself, else MLFLOW_TRACKING_URI, else `mlflow.db` in the working folder.

    Raises UserError for an address that MLflow has no store for.
    """
    named = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not named:
        return f"{_SQLITE}{Path.cwd() / 'mlflow.db'}"
    scheme = urlsplit(named).scheme.partition("+")[0]
    if scheme not in _SCHEMES:
        key = "runtime.tracking_uri" if uri else "MLFLOW_TRACKING_URI"
        raise UserError(
            f"{key} = {named!r} is no address of an MLflow store; "
            "it starts with http://, https:// or the name of a database, as sqlite:///mlflow.db"
        )
    if named.startswith(_SQLITE):
        return f"{_SQLITE}{Path(named.removeprefix(_SQLITE)).absolute()}"
    return named


def without_credentials(uri: str) -> str:
    """The address as it may be shown: no user name, no password, no query."""
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(user + at, "", 1).partition("?")[0]


def prepare_sdk() -> None:
    """Sets the SDK's own variables where they are unset; call before the first import of mlflow."""
    for name, value in _SDK_DEFAULTS.items():
        os.environ.setdefault(name, value)


def connect(uri: str) -> "MlflowClient":
    """A client of a resolved address; a SQLite store is made where it is missing."""
    prepare_sdk()
    from mlflow import MlflowClient

    if not uri.startswith(_SQLITE):
        return MlflowClient(tracking_uri=uri)
    with _store_lock(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first use makes the tables
    return client


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment's id; made, or brought back from the deleted, where need be."""
    from mlflow.exceptions import MlflowException

    artifacts = None
    if uri.startswith(_SQLITE):
        artifacts = (Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts" / name).as_uri()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException:  # another process was first
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def reason(error: BaseException) -> str:
    """What lies at the bottom of one of MLflow's long-winded errors, in one line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"


@contextmanager
def forgiving(uri: str, trouble: str, outlook: str = "") -> Iterator[None]:
    """A context in which whatever ails the store at `uri` costs a line on stderr and no work.

    The line says what `trouble` it is, why, and what comes of it.
    """
    try:
        yield
    except Exception as error:  # MLflow and what it stands on raise all kinds
        end = outlook and f"; {outlook}"
        print(
            f"mlflow at {without_credentials(uri)} {trouble}: {reason(error)}{end}", file=sys.stderr
        )


@contextmanager
def _store_lock(uri: str) -> Iterator[None]:
    # Processes that make the tables at the same time all fail; the lock dies with its holder.
    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(Path(f"{database}.lock"), WAIT):
        yield

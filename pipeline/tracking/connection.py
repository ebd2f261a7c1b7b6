"""The MLflow store: its address, a client for it, and what its errors cost.

The default is a SQLite store in the working directory. mlflow takes seconds to import, which only
`connect` does.
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

# Defaults for the SDK: no telemetry, no lines amid a progress bar, and an immediate error when the
# server is dead (the sync retries).
_SDK_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def resolve_uri(uri: str | None) -> str:
    """The address itself, else MLFLOW_TRACKING_URI, else `mlflow.db` in the working directory.

    Raises UserError for an address that MLflow has no store for.
    """
    named = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not named:
        return f"{_SQLITE}{Path.cwd() / 'mlflow.db'}"
    scheme = urlsplit(named).scheme.partition("+")[0]
    if scheme not in _SCHEMES:
        key = "runtime.tracking_uri" if uri else "MLFLOW_TRACKING_URI"
        raise UserError(
            f"{key} = {named!r} is not the address of an MLflow store; give one that starts with "
            "http://, https:// or a database, such as sqlite:///mlflow.db"
        )
    if named.startswith(_SQLITE):
        return f"{_SQLITE}{Path(named.removeprefix(_SQLITE)).absolute()}"
    return named


def without_credentials(uri: str) -> str:
    """The address without user name, password and query, for messages."""
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(user + at, "", 1).partition("?")[0]


def prepare_sdk() -> None:
    """Sets defaults of the SDK's variables; call before the first import of mlflow."""
    for name, value in _SDK_DEFAULTS.items():
        os.environ.setdefault(name, value)


def connect(uri: str) -> "MlflowClient":
    """A client of a resolved address; creates a missing SQLite store."""
    prepare_sdk()
    from mlflow import MlflowClient

    if not uri.startswith(_SQLITE):
        return MlflowClient(tracking_uri=uri)
    with _store_lock(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first use creates the tables
    return client


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The experiment's id; a missing one is created, a deleted one restored."""
    from mlflow.exceptions import MlflowException

    artifacts = None
    if uri.startswith(_SQLITE):
        artifacts = (Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts" / name).as_uri()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException:  # another process created it
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def reason(error: BaseException) -> str:
    """The innermost cause of an error of MLflow, in one line."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{' '.join(str(error).split()) or type(error).__name__:.300}"


@contextmanager
def warn_on_error(uri: str, problem: str, consequence: str = "") -> Iterator[None]:
    """Logs any MLflow error to stderr and continues: `PROBLEM: reason; CONSEQUENCE`."""
    try:
        yield
    except Exception as error:  # MLflow and its dependencies raise all kinds
        end = consequence and f"; {consequence}"
        print(
            f"mlflow at {without_credentials(uri)} {problem}: {reason(error)}{end}", file=sys.stderr
        )


@contextmanager
def _store_lock(uri: str) -> Iterator[None]:
    # Processes that create the tables at the same time fail; the lock ends with its process.
    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with locked(Path(f"{database}.lock"), WAIT):
        yield

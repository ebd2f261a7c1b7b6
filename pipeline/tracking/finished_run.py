"""The MLflow run of an exported model, for the stages that come after its training."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import UserError
from pipeline.tracking.connection import (
    connect,
    experiment_id,
    reason,
    resolve_uri,
    without_credentials,
)
from pipeline.tracking.generator_registry import register
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.run_identity import (
    DATASET_DIGEST_TAG,
    RUN_KEY_TAG,
    DatasetInfo,
    RunDescription,
    RunIdentity,
    flatten,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class FinishedRun:
    """Adds to a run what later stages found; a failure is one line on stderr, never more."""

    def __init__(self, model_dir: Path, uri: str, experiment: str, runs_dir: Path | None) -> None:
        self._model_dir = model_dir
        self._config = _read_config(model_dir)
        self._uri = uri
        self._connection: tuple[MlflowClient, str] | None = None
        if uri:
            self._attempt("the run", lambda: self._open(experiment, runs_dir))

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None without one."""
        return None if self._connection is None else self._connection[1]

    def log_evaluation(
        self,
        metrics: Mapping[str, float | None],
        *,
        files: Sequence[Path] = (),
        images: Mapping[str, Path] | None = None,
    ) -> None:
        """Metrics as `eval/<name>` at the model's nimg, files under `evaluation/`, pictures."""

        def log(client: "MlflowClient", run_id: str) -> None:
            for name, value in metrics.items():
                if value is not None:
                    client.log_metric(run_id, f"eval/{name}", value, step=self._config["nimg"])
            for file in files:
                client.log_artifact(run_id, str(file), "evaluation")
            for name, path in (images or {}).items():
                _log_image(client, run_id, name, path, self._config["nimg"])

        self._attempt("the evaluation", lambda: log(*self._connected()))

    def log_report(self, page: Path, *, images: Mapping[str, Path] | None = None) -> None:
        """The report's page under `report/`, and pictures of it at the model's nimg."""

        def log(client: "MlflowClient", run_id: str) -> None:
            client.log_artifact(run_id, str(page), "report")
            for name, path in (images or {}).items():
                _log_image(client, run_id, name, path, self._config["nimg"])

        self._attempt("the report", lambda: log(*self._connected()))

    def register_generator(self, snapshot: Path, name: str) -> str | None:
        """Registers a snapshot as a version of model `name`; the version, None if it failed.

        The same snapshot of the same run is registered once. `mlflow.pyfunc.load_model` of
        `models:/<name>/<version>` takes a table with the columns `label` and `seed`.
        """
        return self._attempt(
            "the generator", lambda: register(*self._connected(), snapshot=snapshot, name=name)
        )

    def _open(self, experiment: str, runs_dir: Path | None) -> None:
        run_dir = None if runs_dir is None else runs_dir / self._config["run_key"]
        identity = None if run_dir is None else RunIdentity.load(run_dir, self._uri, experiment)
        if identity is None:
            client = connect(self._uri)
            run_id = self._search(client, experiment)
            if run_id is not None:
                self._connection = client, run_id
                return
            # Trained elsewhere, or without a tracker: the export holds all that a run is made of.
            identity = self._described(experiment)
        identity.progress.outcome = identity.progress.outcome or "finished"
        mirror = Mirror(identity)
        self._connection = mirror.open()
        mirror.send_records()  # what a server that was away has missed
        mirror.send_end()

    def _search(self, client: "MlflowClient", experiment: str) -> str | None:
        runs = client.search_runs(
            [experiment_id(client, self._uri, experiment)],
            filter_string=f"tags.{RUN_KEY_TAG} = '{self._config['run_key']}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def _described(self, experiment: str) -> RunIdentity:
        config = self._config
        name, digest = config["dataset_name"], config["dataset_digest"]
        description = RunDescription(
            run_name=f"{name}-{config['run_key'][:8]}",
            params=flatten({key: config[key] for key in ("model", "train")}),
            tags={RUN_KEY_TAG: config["run_key"], DATASET_DIGEST_TAG: digest},
            dataset=DatasetInfo(name=name, digest=digest, source=name),
        )
        return RunIdentity(self._model_dir, self._uri, experiment, description, keep=False)

    def _connected(self) -> "tuple[MlflowClient, str]":
        assert self._connection is not None
        return self._connection

    def _attempt[T](self, what: str, action: Callable[[], T]) -> T | None:
        pass


def open_run(
    model_dir: Path,
    *,
    tracker: Literal["mlflow", "none"],
    uri: str | None,
    experiment: str,
    runs_dir: Path | None = None,
) -> FinishedRun:
    pass

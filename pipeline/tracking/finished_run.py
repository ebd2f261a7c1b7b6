"""The MLflow run of an exported model, for the stages that come after its training."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeline.core.errors import UserError
from pipeline.tracking.connection import (
    connect,
    experiment_id,
    forgiving,
    resolve_uri,
)
from pipeline.tracking.generator_registry import register
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.run_identity import (
    DATASET_DIGEST_TAG,
    RUN_KEY_TAG,
    TOTAL_NIMG_TAG,
    DatasetInfo,
    RunDescription,
    RunIdentity,
    flatten,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")


class FinishedRun:
    """Adds to a run what later stages found; a failure is one line on stderr, never more."""

    def __init__(
        self, model_dir: Path, uri: str | None, experiment: str, runs_dir: Path | None = None
    ) -> None:
        """Use `open_run`. `uri` is a resolved address; with None nothing is tracked."""
        self._model_dir = model_dir
        self._config = _read_config(model_dir)
        self._uri = uri
        self._experiment = experiment
        self._connection: tuple[MlflowClient, str] | None = None
        if uri is not None:
            self._connection = self._attempt("the run", lambda: self._open(uri, runs_dir))

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
            self._log_files(client, run_id, "evaluation", files, images or {})

        self._with_run("the evaluation", log)

    @property
    def run_key(self) -> str:
        """Of the run that made the model."""
        return str(self._config["run_key"])

    def log_series(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Metrics of the run's snapshots, by nimg, as `series/<name>` there."""

        def log(client: "MlflowClient", run_id: str) -> None:
            for nimg, metrics in points.items():
                for name, value in metrics.items():
                    client.log_metric(run_id, f"series/{name}", value, step=nimg)

        if points:
            self._with_run("the series", log)

    def log_report(self, page: Path, *, images: Mapping[str, Path] | None = None) -> None:
        """The report's page under `report/`, and pictures of it at the model's nimg."""
        self._with_run(
            "the report",
            lambda client, run_id: self._log_files(client, run_id, "report", [page], images or {}),
        )

    def register_generator(self, snapshot: Path) -> str | None:
        """Registers a snapshot as a version of the model `<experiment>-<dataset>`.

        Returns `models:/<name>/<version>`, which `mlflow.pyfunc.load_model` takes, or None if it
        failed; see `generator_model` for input and output. One snapshot of one run is registered
        once.
        """
        name = re.sub(r"[/:'\"%]", "-", f"{self._experiment}-{self._config['dataset_name']}")

        def log(client: "MlflowClient", run_id: str) -> str:
            return f"models:/{name}/{register(client, run_id, snapshot, name)}"

        return self._with_run("the generator", log)

    def _open(self, uri: str, runs_dir: Path | None) -> "tuple[MlflowClient, str]":
        identity = self._trained_here(uri, runs_dir)
        if identity is None:
            client = connect(uri)
            found = client.search_runs(
                [experiment_id(client, uri, self._experiment)],
                filter_string=(
                    f"tags.{RUN_KEY_TAG} = '{self._config['run_key']}' "
                    f"and tags.{TOTAL_NIMG_TAG} = '{self._config['nimg']}'"
                ),
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            if found:
                return client, found[0].info.run_id
            identity = self._exported(uri)
        identity.progress.outcome = identity.progress.outcome or "finished"
        mirror = Mirror(identity)
        connection = mirror.open()
        mirror.send_records()  # what a server that was away has missed
        mirror.send_end()
        return connection

    def _trained_here(self, uri: str, runs_dir: Path | None) -> RunIdentity | None:
        folders = [] if runs_dir is None else sorted(runs_dir.glob("*/"))
        for folder in folders:
            identity = RunIdentity.load(folder, uri, self._experiment, self._config["nimg"])
            tags = {} if identity is None else identity.description.tags
            if tags.get(RUN_KEY_TAG) == self._config["run_key"]:
                return identity
        return None

    def _exported(self, uri: str) -> RunIdentity:
        # Trained elsewhere or without a tracker: the export holds all that a run is made of.
        config = self._config
        name, digest = config["dataset_name"], config["dataset_digest"]
        sections = {key: value for key, value in config.items() if isinstance(value, dict)}
        description = RunDescription(
            run_name=f"{name}-{config['run_key'][:8]}",
            total_nimg=config["nimg"],
            params=flatten(sections),
            tags={RUN_KEY_TAG: config["run_key"], DATASET_DIGEST_TAG: digest},
            dataset=DatasetInfo(name=name, digest=digest, source=name),
        )
        return RunIdentity(self._model_dir, uri, self._experiment, description, keep=False)

    def _log_files(
        self,
        client: "MlflowClient",
        run_id: str,
        folder: str,
        files: Sequence[Path],
        images: Mapping[str, Path],
    ) -> None:
        from PIL import Image

        for file in files:
            client.log_artifact(run_id, str(file), folder)
        for name, path in images.items():
            with Image.open(path) as image:
                client.log_image(run_id, image.convert("RGB"), key=name, step=self._config["nimg"])

    def _with_run(self, what: str, action: "Callable[[MlflowClient, str], T]") -> T | None:
        if self._connection is None:
            return None
        client, run_id = self._connection
        return self._attempt(what, lambda: action(client, run_id))

    def _attempt(self, what: str, action: Callable[[], T]) -> T | None:
        with forgiving(self._uri or "", f"did not take {what}"):
            return action()
        return None


def open_run(
    model_dir: Path,
    *,
    tracker: Literal["mlflow", "none"],
    uri: str | None,
    experiment: str,
    runs_dir: Path | None = None,
) -> FinishedRun:
    """The run that made `model_dir`; with tracker `none`, one that keeps nothing.

    It is looked for in `runs_dir`, then by its key in MLflow, and else made from what the folder
    holds. Raises UserError for an address that is none and for a folder that is no model.
    """
    address = resolve_uri(uri) if tracker == "mlflow" else None
    return FinishedRun(model_dir, address, experiment, runs_dir)


def _read_config(model_dir: Path) -> dict[str, Any]:
    path = model_dir / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        for key in ("run_key", "nimg", "dataset_name", "dataset_digest"):
            config[key]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro train` makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error!r}); `dvc repro --force train` writes it anew"
        ) from None
    return config

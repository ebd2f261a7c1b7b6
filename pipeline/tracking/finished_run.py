"""The MLflow run of an exported model, for the stages after its training, and its registration."""

import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pipeline.core.errors import UserError
from pipeline.tracking.connection import (
    connect,
    experiment_id,
    resolve_uri,
    warn_on_error,
)
from pipeline.tracking.run_description import (
    DATASET_DIGEST_TAG,
    RUN_KEY_TAG,
    TOTAL_NIMG_TAG,
    DatasetInfo,
    RunDescription,
    flatten,
)
from pipeline.tracking.sync import RunSync

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

_ROOT = Path(__file__).resolve().parents[2]
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "torch")
# Packages that loading a snapshot does not import; each file would be another request.
_NOT_SERVED = (
    *("config", "data", "distributed", "evaluation", "tracking", "runs", "search", "reporting"),
    "jobs",
)
_SNAPSHOT_TAG = "snapshot_sha256"

T = TypeVar("T")


class FinishedRun:
    """Logs the results of later stages to a run; MLflow errors are printed to stderr."""

    def __init__(
        self, model_dir: Path, uri: str | None, experiment: str, runs_dir: Path | None = None
    ) -> None:
        """See `open_run`. `uri` is a resolved address; with None nothing is logged."""
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
        """The key of the training run."""
        return str(self._config["run_key"])

    def log_series(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Metrics of the run's snapshots, by nimg, as `series/<name>`."""

        def log(client: "MlflowClient", run_id: str) -> None:
            for nimg, metrics in points.items():
                for name, value in metrics.items():
                    client.log_metric(run_id, f"series/{name}", value, step=nimg)

        if points:
            self._with_run("the series", log)

    def log_report(self, page: Path, *, images: Mapping[str, Path] | None = None) -> None:
        """The report's page under `report/`, and its pictures at the model's nimg."""
        self._with_run(
            "the report",
            lambda client, run_id: self._log_files(client, run_id, "report", [page], images or {}),
        )

    def register_generator(self, snapshot: Path) -> str | None:
        """Registers a snapshot as a version of the model `<experiment>-<dataset>`.

        Returns `models:/<name>/<version>` for `mlflow.pyfunc.load_model`, or None if it failed;
        `generator_model` has the input and output. A snapshot of a run is registered once.
        """
        name = re.sub(r"[/:'\"%]", "-", f"{self._experiment}-{self._config['dataset_name']}")

        def log(client: "MlflowClient", run_id: str) -> str:
            return f"models:/{name}/{_register(client, run_id, snapshot, name)}"

        return self._with_run("the generator", log)

    def _open(self, uri: str, runs_dir: Path | None) -> "tuple[MlflowClient, str]":
        sync = self._trained_here(uri, runs_dir)
        if sync is None:
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
            sync = self._exported(uri)
        sync.progress.outcome = sync.progress.outcome or "finished"
        connection = sync.open()
        sync.send_records()  # what a dead server missed
        sync.send_end()
        return connection

    def _trained_here(self, uri: str, runs_dir: Path | None) -> RunSync | None:
        folders = [] if runs_dir is None else sorted(runs_dir.glob("*/"))
        for folder in folders:
            sync = RunSync.load(folder, uri, self._experiment, self._config["nimg"])
            tags = {} if sync is None else sync.description.tags
            if tags.get(RUN_KEY_TAG) == self._config["run_key"]:
                return sync
        return None

    def _exported(self, uri: str) -> RunSync:
        # Trained elsewhere or without a tracker: the export has everything that a run needs.
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
        return RunSync(self._model_dir, uri, self._experiment, description, keep=False)

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
        with warn_on_error(self._uri or "", f"did not take {what}"):
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
    """The run that trained `model_dir`; with tracker `none`, one that logs nothing.

    It is found in `runs_dir` or by its key in MLflow, or else created from the folder's content.
    Raises UserError for an invalid address and for a folder without a model.
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


def _register(client: "MlflowClient", run_id: str, snapshot: Path, name: str) -> str:
    """The version of model `name` with the snapshot, created if there is none."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.exceptions import MlflowException

    digest = hashlib.sha256(snapshot.read_bytes()).hexdigest()
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.run_id == run_id and known.tags.get(_SNAPSHOT_TAG) == digest:
            return str(known.version)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice of mlflow and pandas
        packages = [_copy_package(package, Path(folder)) for package in ("models", "pipeline")]
        model = Path(folder) / "generator"
        # Models from code: nothing is pickled, and the file is what is loaded.
        mlflow.pyfunc.save_model(
            path=str(model),
            python_model=str(Path(__file__).with_name("generator_model.py")),
            artifacts={"generator": str(snapshot)},
            code_paths=packages,
            pip_requirements=[f"{p}=={version(p).partition('+')[0]}" for p in _REQUIREMENTS],
            signature=_signature(),
            input_example=pd.DataFrame({"label": [0, 1], "seed": [0, 1]}),
        )
        client.log_artifacts(run_id, str(model), "generator")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/generator"
    created = client.create_model_version(name, source, run_id, tags={_SNAPSHOT_TAG: digest})
    return str(created.version)


def _signature() -> "ModelSignature":
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), "label"), ColSpec(DataType.long, "seed")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1), "images")]),
    )


def _copy_package(name: str, folder: Path) -> str:
    ignored = shutil.ignore_patterns("__pycache__", *_NOT_SERVED)
    return str(shutil.copytree(_ROOT / name, folder / "code" / name, ignore=ignored))

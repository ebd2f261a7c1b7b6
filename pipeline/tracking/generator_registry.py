"""Registers a snapshot in MLflow's model registry, with the code that opens it."""

import hashlib
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

_ROOT = Path(__file__).resolve().parents[2]
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "torch")
# Packages that loading a snapshot does not import; each file would be one more request.
_NOT_SERVED = (
    *("config", "data", "distributed", "evaluation", "tracking", "runs", "search", "reporting"),
    "jobs",
)
_SNAPSHOT_TAG = "snapshot_sha256"


def register(client: "MlflowClient", run_id: str, snapshot: Path, name: str) -> str:
    """The version of model `name` that holds the snapshot; an existing one where there is one."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.exceptions import MlflowException

    digest = hashlib.sha256(snapshot.read_bytes()).hexdigest()
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.run_id == run_id and known.tags.get(_SNAPSHOT_TAG) == digest:
            return str(known.version)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mlflow and pandas advise each other
        packages = [_copy_package(package, Path(folder)) for package in ("models", "pipeline")]
        model = Path(folder) / "generator"
        # Model from code: nothing is pickled, and what is loaded is what is read here.
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
    made = client.create_model_version(name, source, run_id, tags={_SNAPSHOT_TAG: digest})
    return str(made.version)


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

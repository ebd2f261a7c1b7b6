"""The name, parameters, tags and dataset of an MLflow run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.environment import git_commit
from pipeline.data.shards.manifest import Manifest
from pipeline.storage.digest import sha256_file
from pipeline.training.settings import TrainSettings

RUN_KEY_TAG = "run_key"
DATASET_DIGEST_TAG = "dataset_digest"
TOTAL_NIMG_TAG = "total_nimg"


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The dataset that a run was trained on."""

    name: str
    digest: str
    """Hex digest, the same wherever the data lie."""
    source: str
    """A folder or an address."""


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What is logged once, when the MLflow run is created."""

    run_name: str
    total_nimg: int
    """Length of the run; records beyond it belong to a longer run in the same folder."""
    params: dict[str, str]
    """Flat: `train/g_lr` -> `0.0002`."""
    tags: dict[str, str]
    dataset: DatasetInfo | None


@dataclass(frozen=True, kw_only=True)
class RunLabel:
    """The name of a run among those that it is compared with, in place of the default one."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    """What sets the run apart; logged before the parameters that all runs have."""
    tags: Mapping[str, str] = field(default_factory=dict)


def describe_run(
    run_key: str,
    settings: TrainSettings,
    manifest: Manifest,
    system: Mapping[str, Any],
    label: RunLabel | None = None,
) -> RunDescription:
    """The description of a training run; `system` has the variant's name and its changes."""
    params = asdict(settings)
    networks = {"g": params.pop("generator"), "d": params.pop("discriminator")}
    label = label or RunLabel(
        name=f"{system['variant']} {manifest.name}-{manifest.resolution} "
        f"{settings.total_kimg:g}kimg {run_key[:8]}"
    )
    sections = {"train": params, **networks, "data": {"name": manifest.name}}
    return RunDescription(
        run_name=label.name,
        total_nimg=settings.total_nimg,
        params=flatten({**label.params, **system, **sections}),
        tags={
            RUN_KEY_TAG: run_key,
            DATASET_DIGEST_TAG: manifest.digest,
            **_version_tags(),
            **label.tags,
        },
        dataset=DatasetInfo(
            name=manifest.name, digest=manifest.digest, source=str(manifest.source)
        ),
    )


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested sections as parameters of MLflow: `{"train": {"g_lr": 2e-4}}` -> `train/g_lr`."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = str(list(value) if isinstance(value, tuple) else value)
    return flat


def _version_tags() -> dict[str, str]:
    tags = {}
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit  # the name that MLflow's tables show
    lock = Path("dvc.lock")
    if lock.exists():
        tags["dvc_lock_sha256"] = sha256_file(lock)
    return tags

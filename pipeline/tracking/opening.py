"""Opens the tracker that the configuration asks for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.environment import git_commit
from pipeline.data.shards.manifest import Manifest
from pipeline.storage.digest import sha256_file
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.tracking.mlflow import MlflowTracker
from pipeline.tracking.run_identity import DATASET_DIGEST_TAG, RUN_KEY_TAG, DatasetInfo
from pipeline.tracking.tracker import Tracker
from pipeline.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class RunLabel:
    """What somebody who compares runs calls one of them."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    """What sets it apart, before the parameters that all runs have."""
    tags: Mapping[str, str] = field(default_factory=dict)


def open_tracker(
    run_dir: Path,
    run_key: str,
    settings: TrainSettings,
    manifest: Manifest,
    description: Mapping[str, Any],
    *,
    kind: Literal["mlflow", "none"],
    uri: str | None,
    experiment: str,
    label: RunLabel | None = None,
) -> Tracker:
    """Writes `stats.jsonl` in any case, and mirrors it in MLflow for kind `mlflow`.

    `description` holds the variant's name and what departs from it.
    """
    if kind == "none":
        return JsonlTracker(run_dir)
    params = asdict(settings)
    networks = {"g": params.pop("generator"), "d": params.pop("discriminator")}
    label = label or RunLabel(
        name=f"{description['variant']} {manifest.name}-{manifest.resolution} "
        f"{settings.total_kimg:g}kimg {run_key[:8]}"
    )
    return MlflowTracker(
        run_dir,
        uri=uri,
        experiment=experiment,
        run_name=label.name,
        total_nimg=settings.total_nimg,
        params={
            **label.params,
            **description,
            "train": params,
            **networks,
            "data": {"name": manifest.name},
        },
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


def _version_tags() -> dict[str, str]:
    tags = {}
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit  # the name that MLflow's tables show
    lock = Path("dvc.lock")
    if lock.exists():
        tags["dvc_lock_sha256"] = sha256_file(lock)
    return tags

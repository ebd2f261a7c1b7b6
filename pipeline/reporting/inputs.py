"""Reads and checks the outputs of the earlier stages."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import Dataset, open_dataset
from pipeline.runs.run_folder import ENVIRONMENT_NAME, run_folder
from pipeline.tracking.jsonl import STATS_NAME, MetricsRecord, read_stats


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """Paths of the earlier stages' outputs."""

    model: Path
    """Folder of the exported model."""
    metrics: Path
    """`metrics.json`."""
    protocol: Path
    """`protocol.json`."""
    samples: Path
    """Folder of `class_grid.png` and `attention.npz`."""
    shards: Path
    """Folder of the shards."""
    runs: Path | None = None
    """Folder of the run folders, for the environment of the training."""


@dataclass(frozen=True, kw_only=True)
class AttentionSamples:
    """Generated images with their attention maps."""

    images: npt.NDArray[np.uint8]
    """[N, H, W, C], C 1 or 3."""
    labels: npt.NDArray[np.int64]
    """[N]."""
    maps: Mapping[int, npt.NDArray[np.float32]]
    """For each feature size s: [N, s, s, s/2, s/2], weights of the pooled keys for each query."""


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The outputs of the earlier stages, in memory."""

    config: Mapping[str, Any]
    """`config.json` of the model."""
    statuses: tuple[MetricsRecord, ...]
    grids: tuple[tuple[int, Image.Image], ...]
    """(nimg, class grid) over training time."""
    metrics: Mapping[str, float | None]
    protocol: Mapping[str, Mapping[str, Any]]
    class_grid: Image.Image
    attention: AttentionSamples
    dataset: Dataset
    environment: Mapping[str, Any]
    """Versions, processor and commit of the training; empty where its run folder is gone."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.dataset.manifest.class_names


def read_inputs(paths: ReportPaths) -> ReportInputs:
    """Reads all; a UserError names the file that is missing or malformed and what makes it."""
    config = _read_config(paths.model / "config.json")
    statuses, images = read_stats(paths.model / STATS_NAME)
    grids = tuple(
        (record.nimg, _read_image(paths.model / record.path, "train"))
        for record in images
        if record.name == "samples"
    )
    dataset = open_dataset(paths.shards, verify="size")
    if dataset.manifest.digest != config["dataset_digest"]:
        raise UserError(
            f"{paths.shards} holds another data set than {paths.model} was trained on; "
            "`dvc repro` brings them together"
        )
    return ReportInputs(
        config=config,
        statuses=tuple(statuses),
        grids=grids,
        metrics=_read_metrics(paths.metrics),
        protocol=_read_protocol(paths.protocol),
        class_grid=_read_image(paths.samples / "class_grid.png", "evaluate"),
        attention=_read_attention(paths.samples / "attention.npz", len(config["class_names"])),
        dataset=dataset,
        environment=_read_environment(paths.runs, config["run_key"]),
    )


def _read_config(path: Path) -> Mapping[str, Any]:
    config = _read_object(path, "train")
    kinds = {
        "run_key": str,
        "dataset_digest": str,
        "dataset_name": str,
        "class_names": list,
        "nimg": int,
    }
    for key, kind in kinds.items():
        if not isinstance(config.get(key), kind):
            raise _malformed(path, f"`{key}` is missing or of another type", "train")
    return config


def _read_environment(runs_dir: Path | None, run_key: str) -> Mapping[str, Any]:
    if runs_dir is None:
        return {}
    path = run_folder(runs_dir, run_key) / ENVIRONMENT_NAME
    return _read_object(path, "train") if path.exists() else {}


def _read_metrics(path: Path) -> Mapping[str, float | None]:
    metrics = _read_object(path, "evaluate")
    for key, value in metrics.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _malformed(path, f"`{key}` is no number", "evaluate")
    return metrics


def _read_protocol(path: Path) -> Mapping[str, Mapping[str, Any]]:
    protocol = _read_object(path, "evaluate")
    for key, value in protocol.items():
        if not isinstance(value, dict):
            raise _malformed(path, f"`{key}` is no table", "evaluate")
    return protocol


def _read_attention(path: Path, num_classes: int) -> AttentionSamples:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"].astype(np.int64)
            maps = {
                int(name.removeprefix("maps_")): file[name]
                for name in sorted(file.files)
                if name.startswith("maps_")
            }
    except FileNotFoundError:
        raise _missing(path, "evaluate") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _malformed(path, str(error), "evaluate") from None
    N = len(images)
    valid = (
        images.ndim == 4
        and images.dtype == np.uint8
        and images.shape[3] in (1, 3)
        and labels.shape == (N,)
        and all(0 <= label < num_classes for label in labels)
    )
    for size, weights in maps.items():
        # keys are pooled in the released form of attention, not in the paper's
        keys = (size // 2, size // 2), (size, size)
        valid = valid and weights.shape[:3] == (N, size, size) and weights.shape[3:] in keys
    if not valid:
        raise _malformed(path, "its arrays do not fit each other", "evaluate")
    return AttentionSamples(images=images, labels=labels, maps=maps)


def _read_object(path: Path, stage: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except ValueError as error:
        raise _malformed(path, str(error), stage) from None
    if not isinstance(content, dict):
        raise _malformed(path, "it is no JSON object", stage)
    return content


def _read_image(path: Path, stage: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except FileNotFoundError:
        raise _missing(path, stage) from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise _malformed(path, str(error), stage) from None


def _missing(path: Path, stage: str) -> UserError:
    return UserError(f"{path} does not exist; `dvc repro {stage}` makes it")


def _malformed(path: Path, reason: str, stage: str) -> UserError:
    reason = " ".join(reason.split())
    return UserError(f"{path} is malformed ({reason}); `dvc repro --force {stage}` writes it anew")

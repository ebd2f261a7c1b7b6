"""Writes a source's images as a folder of shards that appears whole or not at all.

Until then the shards lie in `<out>.tmp`; after a kill the same command continues from there.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from pipeline.core.errors import UserError
from pipeline.data.ingest.data_checks import (
    Rejected,
    check_rejected,
    make_observations,
    require_training_images,
)
from pipeline.data.ingest.executors import Executor, run_serially
from pipeline.data.ingest.plan import plan_shards
from pipeline.data.ingest.preprocessing import VERSIONS, Preprocessing
from pipeline.data.ingest.shard_task import ShardResult, ShardTask
from pipeline.data.shards.manifest import (
    FORMAT_VERSION,
    LIST_FILES,
    MANIFEST_FILE,
    SHARD_FILE,
    SPLITS,
    Manifest,
    Split,
    identity_digest,
    write_manifest,
)
from pipeline.data.sources.source import Source
from pipeline.storage.atomic import write_text
from pipeline.storage.disk_space import explain_full_folder
from pipeline.storage.locks import LockedError, locked

_CURE = "free some and run the same command to go on, or choose another --out"


def write_dataset(
    source: Source,
    out: Path,
    preprocessing: Preprocessing,
    *,
    heldout_fraction: float,
    shard_rows: int,
    max_rejected_fraction: float = 0.01,
    executor: Executor = run_serially,
) -> Manifest:
    """Writes shards of at most `shard_rows` images, then the manifest, to the folder `out`.

    Images that cannot be decoded are listed in `rejected.jsonl`, ones with equal pixels in
    `duplicates.jsonl`. The bytes do not depend on `executor`. An earlier folder of shards is
    replaced at the end. Raises UserError where `out` holds anything else, where more than
    `max_rejected_fraction` of the images are rejected, and where a class has no image to train on.
    """
    _check_replaceable(out)
    staging = out.with_name(out.name + ".tmp")
    with _held(staging), explain_full_folder(staging, _CURE):
        folder, markers = staging / "shards", staging / "done"
        folder.mkdir(exist_ok=True)
        markers.mkdir(exist_ok=True)
        tasks = plan_shards(source, preprocessing, folder, markers, heldout_fraction, shard_rows)
        _remove_stale_files(staging, tasks)
        results = _run(tasks, executor)
        rejected = [
            Rejected(key=task.items.keys[position], reason=reason)
            for task, result in zip(tasks, results, strict=True)
            for position, reason in result.rejected
        ]
        _write_lines(staging / "rejected.jsonl", [dataclasses.asdict(r) for r in rejected])
        check_rejected(
            rejected, len(source.items), max_rejected_fraction, staging / "rejected.jsonl"
        )
        splits = _splits(source, tasks, results, heldout_fraction)
        observations, duplicates = make_observations(source, tasks, results, rejected)
        _write_lines(folder / "rejected.jsonl", [dataclasses.asdict(r) for r in rejected])
        _write_lines(folder / "duplicates.jsonl", duplicates)
        manifest = _manifest(source, preprocessing, splits, heldout_fraction, observations)
        write_manifest(folder, manifest)
        if out.exists():
            shutil.rmtree(out)  # checked above: nothing but shards was in it
        os.replace(folder, out)
        shutil.rmtree(staging)
    return manifest


@contextmanager
def _held(staging: Path) -> Iterator[None]:
    try:
        staging.mkdir(parents=True, exist_ok=True)
        (staging / "lock").touch()
    except OSError as error:
        raise UserError(
            f"{staging} cannot be made ({error.strerror}); choose another --out"
        ) from None
    try:
        with locked(staging / "lock"):
            try:
                yield
            finally:
                # Nothing worth keeping unless a shard is complete.
                if staging.exists() and not any((staging / "done").glob("*")):
                    shutil.rmtree(staging)
    except LockedError as holder:
        raise UserError(
            f"process {holder} is writing shards to {staging}; wait until it has ended"
        ) from None


def _remove_stale_files(staging: Path, tasks: Sequence[ShardTask]) -> None:
    """Removes files of an ingest of other images."""
    known = {path for task in tasks for path in (task.path, task.done_marker)}
    known |= {(staging / name).absolute() for name in ("lock", "shards", "done")}
    for path in [*staging.iterdir(), *staging.glob("shards/*"), *staging.glob("done/*")]:
        if path.absolute() not in known:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(tasks: Sequence[ShardTask], executor: Executor) -> list[ShardResult]:
    """The results in the order of the tasks, with a bar on a terminal."""
    sizes = {task.path.name: len(task.items) for task in tasks}
    found: dict[str, ShardResult] = {}
    with tqdm(total=sum(sizes.values()), unit=" images", disable=None) as bar:
        for result in executor(tasks):
            found[result.file] = result
            bar.update(sizes[result.file])
    return [found[task.path.name] for task in tasks]


def _splits(
    source: Source,
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    heldout_fraction: float,
) -> dict[str, Split]:
    """The splits of the manifest; raises UserError for a class without an image to train on."""
    splits = {}
    for name in SPLITS:
        own = [r for task, r in zip(tasks, results, strict=True) if task.split == name]
        counts = np.zeros(len(source.class_names), np.int64)
        for result in own:
            counts += result.class_counts
        splits[name] = Split(
            rows=int(counts.sum()),
            class_counts=tuple(counts.tolist()),
            shards=tuple(result.entry for result in own if result.entry is not None),
        )
    require_training_images(
        source.class_names, np.array(splits["train"].class_counts), heldout_fraction
    )
    return splits


def _manifest(
    source: Source,
    preprocessing: Preprocessing,
    splits: Mapping[str, Split],
    heldout_fraction: float,
    observations: Mapping[str, Any],
) -> Manifest:
    versions = {
        **VERSIONS, "pyarrow": pa.__version__, **source.preprocessing.get("versions", {})
    }  # fmt: skip
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=source.name,
        resolution=preprocessing.resolution,
        channels=preprocessing.channels,
        class_names=source.class_names,
        rows=sum(split.rows for split in splits.values()),
        splits=splits,
        source=source.origin,
        preprocessing={
            **preprocessing.describe(),
            **source.preprocessing,
            "heldout_fraction": float(heldout_fraction),
            "versions": versions,
        },
        observations=observations,
        digest="",
    )
    return dataclasses.replace(manifest, digest=identity_digest(manifest))


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    if lines:
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    else:
        path.unlink(missing_ok=True)


def _check_replaceable(out: Path) -> None:
    if out.is_symlink():
        raise UserError(f"{out} is a link; --out must be a folder that can be replaced")
    if out.is_dir():
        for entry in out.iterdir():
            known = entry.name in (MANIFEST_FILE, *LIST_FILES) or SHARD_FILE.fullmatch(entry.name)
            if not known:
                raise UserError(
                    f"{out} holds {entry.name}, which is no shard; choose another --out or empty it"
                )
    elif out.exists():
        raise UserError(f"{out} is a file; --out must be the shards' folder")

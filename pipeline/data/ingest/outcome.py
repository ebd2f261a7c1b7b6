"""What the shards of all tasks add up to."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.ingest.findings import Accepted, find_doubles, find_suspicious
from pipeline.data.ingest.plan import require_training_images
from pipeline.data.ingest.rejects import Rejected
from pipeline.data.ingest.shard_task import ShardResult, ShardTask
from pipeline.data.shards.manifest import SPLITS, Split
from pipeline.data.sources.source import Source

_MAX_SHOWN = 20
"""Rejected images and groups of doubles that the manifest repeats."""
_MAX_KEYS = 5
"""Keys of each such group."""


def make_splits(
    source: Source,
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    heldout_fraction: float,
) -> dict[str, Split]:
    """The splits that the results of the tasks make.

    Raises UserError for a class without an image to train on.
    """
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


def make_observations(
    source: Source,
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    rejected: Sequence[Rejected],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the manifest says beside the content, and all groups of doubles."""
    seen = [result.seen for result in results]
    doubles = find_doubles(_accepted(tasks, results))
    counts = np.sum([result.class_counts for result in results], axis=0)
    suspicious = find_suspicious(source.class_names, counts, seen, doubles, source.is_tiny)
    observations = {
        "warnings": [*source.warnings, *suspicious],
        "note": source.note,
        "rejected": {
            "images": len(rejected),
            "first": [dataclasses.asdict(r) for r in rejected[:_MAX_SHOWN]],
        },
        "duplicates": {
            "images": doubles.num_images,
            "groups": len(doubles.groups),
            "across_splits": doubles.num_across_splits,
            "across_classes": doubles.num_across_classes,
            "first": [
                {**dataclasses.asdict(group), "keys": group.keys[:_MAX_KEYS]}
                for group in doubles.groups[:_MAX_SHOWN]
            ],
        },
        "enlarged": sum(part.num_enlarged for part in seen),
    }
    return observations, [dataclasses.asdict(group) for group in doubles.groups]


def _accepted(tasks: Sequence[ShardTask], results: Sequence[ShardResult]) -> Accepted:
    keys: list[str] = []
    labels, is_heldout = [], []
    for task, result in zip(tasks, results, strict=True):
        kept = np.ones(len(task.items), bool)
        kept[[position for position, _ in result.rejected]] = False
        keys += [key for key, stays in zip(task.items.keys, kept.tolist(), strict=True) if stays]
        labels.append(task.items.labels[kept])
        is_heldout.append(np.full(int(kept.sum()), task.split == "heldout"))
    return Accepted(
        keys=keys,
        labels=np.concatenate(labels),
        is_heldout=np.concatenate(is_heldout),
        contents=np.concatenate([result.seen.contents for result in results]),
    )

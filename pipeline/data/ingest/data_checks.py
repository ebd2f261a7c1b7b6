"""Data checks of an ingest: rejected images, empty classes, duplicates, likely mistakes."""

import dataclasses
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.data.ingest.shard_task import ShardResult, ShardStats, ShardTask
from pipeline.data.shards.manifest import SPLITS
from pipeline.data.sources.source import Source

FEW_IMAGES = 50
"""A class with fewer is warned about."""
_NOTICEABLE = 0.1
"""Share of all images from which enlarged or one-coloured ones are warned about."""
_MIN_STD = 2.0
"""Grey levels; mean standard deviation over the cells of an 8x8 grid below which images hardly
differ."""
_MAX_LISTED = 100
"""Keys of a group in `duplicates.jsonl`."""
_MAX_SHOWN = 20
"""Rejected images and groups of duplicates in the manifest."""
_MAX_KEYS = 5
"""Keys of a group in the manifest."""
_MAX_NAMED = 5
"""Images or classes in a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """An image that could not be used."""

    key: str
    reason: str


def check_rejected(
    rejected: Sequence[Rejected], num_items: int, max_fraction: float, path: Path
) -> None:
    """Raises UserError when more than the fraction, or all, of the images are rejected.

    The message names `path`, the list of them, and the first ones.
    """
    if num_items and len(rejected) <= max_fraction * num_items and len(rejected) < num_items:
        return
    if num_items == 0:
        raise UserError("the source has no images; see data.path, data.classes and data.limit")
    head = "; ".join(f"{r.key} ({r.reason})" for r in rejected[:_MAX_NAMED])
    raise UserError(
        f"{len(rejected)} of {num_items} images cannot be used, more than "
        f"data.max_rejected_fraction = {max_fraction:g} allows; {path} lists them: {head}"
        f"{'; ...' if len(rejected) > _MAX_NAMED else ''}"
    )


def require_training_images(
    class_names: Sequence[str], counts: npt.NDArray[np.int64], heldout_fraction: float
) -> None:
    """Raises UserError for the first class of which there are none."""
    for name, count in zip(class_names, counts.tolist(), strict=True):
        if count == 0:
            raise UserError(
                f"class {name!r} has no image left to train on at data.heldout_fraction "
                f"{heldout_fraction}; add images, lower the fraction, raise data.limit or leave it "
                "out of data.classes"
            )


def make_observations(
    source: Source,
    tasks: Sequence[ShardTask],
    results: Sequence[ShardResult],
    rejected: Sequence[Rejected],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The manifest's `observations`, and all groups of duplicates."""
    stats = [result.stats for result in results]
    duplicates = _duplicates(tasks, results)
    counts = np.sum([result.class_counts for result in results], axis=0)
    suspicious = find_suspicious(source.class_names, counts, stats, duplicates, source.is_tiny)
    observations = {
        "warnings": [*source.warnings, *suspicious],
        "note": source.note,
        "rejected": {
            "images": len(rejected),
            "first": [dataclasses.asdict(r) for r in rejected[:_MAX_SHOWN]],
        },
        "duplicates": {
            "images": duplicates.num_images,
            "groups": len(duplicates.groups),
            "across_splits": duplicates.num_across_splits,
            "across_classes": duplicates.num_across_classes,
            "first": [
                {**dataclasses.asdict(group), "keys": group.keys[:_MAX_KEYS]}
                for group in duplicates.groups[:_MAX_SHOWN]
            ],
        },
        "enlarged": sum(part.num_enlarged for part in stats),
    }
    return observations, [dataclasses.asdict(group) for group in duplicates.groups]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Images with equal pixels."""

    count: int
    keys: list[str]
    """The first of them."""
    labels: list[int]
    splits: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """All groups of equal images of a data set."""

    groups: list[Group]
    num_images: int
    """All but the first of each group."""
    num_across_splits: int
    """Groups with images in both splits."""
    num_across_classes: int
    """Groups with more than one label."""


def find_duplicates(
    keys: Sequence[str],
    labels: npt.NDArray[np.int32],
    is_heldout: npt.NDArray[np.bool_],
    hashes: npt.NDArray[np.uint64],
) -> Duplicates:
    """Groups of images with equal hashes, in the order of their first; all arguments are [N]."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(ordered)]
    repeated = ends - starts > 1
    spans = zip(starts[repeated].tolist(), ends[repeated].tolist(), strict=True)
    groups = [
        Group(
            count=end - start,
            keys=[keys[row] for row in order[start : min(end, start + _MAX_LISTED)]],
            labels=np.unique(labels[order[start:end]]).tolist(),
            splits=sorted({SPLITS[row] for row in is_heldout[order[start:end]].tolist()}),
        )
        for start, end in sorted(spans, key=lambda span: int(order[span[0]]))
    ]
    return Duplicates(
        groups=groups,
        num_images=sum(group.count - 1 for group in groups),
        num_across_splits=sum(len(group.splits) > 1 for group in groups),
        num_across_classes=sum(len(group.labels) > 1 for group in groups),
    )


def find_suspicious(
    class_names: Sequence[str],
    class_counts: npt.NDArray[np.int64],
    stats: Sequence[ShardStats],
    duplicates: Duplicates,
    is_tiny: bool,
) -> list[str]:
    """Likely mistakes in the data, a sentence each without its full stop."""
    total = int(class_counts.sum())
    found = []
    if len(class_names) == 1:
        found.append(f"there is one class only, {_name(class_names[0])}; every label will be 0")
    few = [index for index, count in enumerate(class_counts.tolist()) if count < FEW_IMAGES]
    if few:
        named = ", ".join(
            f"{_name(class_names[index])} with {class_counts[index]}" for index in few[:_MAX_NAMED]
        )
        found.append(
            f"{len(few)} of {len(class_names)} classes have fewer than {FEW_IMAGES} images: {named}"
            f"{', ...' if len(few) > _MAX_NAMED else ''}"
        )
    for names in _alike(class_names):
        quoted = " and ".join(_name(name, ascii) for name in names)
        found.append(
            f"classes {quoted} differ only in case or in the encoding of letters; rename one if "
            "they are the same"
        )
    if total > 1 and duplicates.num_images == total - 1:
        found.append(f"all {total} images are identical")
    elif total > 1 and _mean_std(stats, total) < _MIN_STD:
        found.append("all images are nearly identical")
    if duplicates.num_across_splits:
        found.append(
            f"training and held-out images share {_count(duplicates.num_across_splits)}, the same "
            "pixel for pixel"
        )
    if duplicates.num_across_classes:
        found.append(
            f"classes share {_count(duplicates.num_across_classes)}, the same pixel for pixel"
        )
    enlarged = sum(part.num_enlarged for part in stats)
    if enlarged > _NOTICEABLE * total and not is_tiny:
        found.append(f"{enlarged} of {total} originals are smaller than the shards' resolution")
    flat = sum(part.num_flat for part in stats)
    if flat > _NOTICEABLE * total:
        found.append(f"{flat} of {total} images are of one colour")
    return found


def _count(number: int) -> str:
    return f"{number} image{'s' if number > 1 else ''}"


def _mean_std(stats: Sequence[ShardStats], total: int) -> float:
    means = np.sum([part.cell_sums for part in stats], axis=0) / total
    squares = np.sum([part.cell_squares for part in stats], axis=0) / total
    return float(np.sqrt(np.maximum(squares - means**2, 0)).mean())


def _alike(class_names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in class_names:
        groups[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _name(name: str, quote: Callable[[str], str] = repr) -> str:
    text = quote(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _duplicates(tasks: Sequence[ShardTask], results: Sequence[ShardResult]) -> Duplicates:
    keys: list[str] = []
    labels, is_heldout = [], []
    for task, result in zip(tasks, results, strict=True):
        kept = np.ones(len(task.items), bool)
        kept[[position for position, _ in result.rejected]] = False
        keys += [key for key, stays in zip(task.items.keys, kept.tolist(), strict=True) if stays]
        labels.append(task.items.labels[kept])
        is_heldout.append(np.full(int(kept.sum()), task.split == "heldout"))
    hashes = np.concatenate([result.stats.hashes for result in results])
    return find_duplicates(keys, np.concatenate(labels), np.concatenate(is_heldout), hashes)

"""The report's data section: class counts, example images, and warnings of the data checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.shards.reader import Dataset
from pipeline.reporting.html import Picture, picture
from pipeline.reporting.samples import strip

_MAX_CLASSES = 20
_COLUMNS = 12
_MAX_SIDE = 64
"""Pixels of an image on the sheet; the page must stay small enough to be sent."""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """Training images of a class."""

    name: str
    count: int
    images: Picture


@dataclass(frozen=True, kw_only=True)
class DataOverview:
    """The values of the template's data section."""

    histogram: Sequence[Mapping[str, Any]]
    """For each class its counts, and their shares of the largest class in per cent."""
    sheet: Sequence[SheetRow]
    """At most 20 classes, evenly spread; those without training images are left out."""
    sheet_scale: int
    """Whole factor to show the sheet at."""
    warnings: Sequence[str]
    note: str
    num_rejected: int
    rejected: Sequence[Mapping[str, str]]
    """The first of them: `key` and `reason`."""
    num_duplicates: int
    num_across_splits: int
    num_across_classes: int
    duplicates: Sequence[Mapping[str, Any]]
    """The first groups: `count`, the first `keys`, and class `names`."""


def data_section(dataset: Dataset) -> DataOverview:
    """Reads the manifest; one of an earlier version has no observations."""
    manifest = dataset.manifest
    seen = manifest.observations
    rejected = seen.get("rejected", {})
    duplicates = seen.get("duplicates", {})
    side = min(manifest.resolution, _MAX_SIDE)
    return DataOverview(
        histogram=_histogram(dataset),
        sheet=_sheet(dataset, side),
        sheet_scale=max(1, _MAX_SIDE // side),
        warnings=seen.get("warnings", []),
        note=seen.get("note", ""),
        num_rejected=rejected.get("images", 0),
        rejected=rejected.get("first", []),
        num_duplicates=duplicates.get("images", 0),
        num_across_splits=duplicates.get("across_splits", 0),
        num_across_classes=duplicates.get("across_classes", 0),
        duplicates=[
            {**group, "names": [manifest.class_names[label] for label in group["labels"]]}
            for group in duplicates.get("first", [])
        ],
    )


def _histogram(dataset: Dataset) -> list[dict[str, Any]]:
    manifest = dataset.manifest
    train = manifest.splits["train"].class_counts
    heldout = manifest.splits["heldout"].class_counts
    largest = max(1, *(t + h for t, h in zip(train, heldout, strict=True)))
    return [
        {
            "name": name,
            "train": t,
            "heldout": h,
            "train_share": round(100 * t / largest, 2),
            "heldout_share": round(100 * h / largest, 2),
        }
        for name, t, h in zip(manifest.class_names, train, heldout, strict=True)
    ]


def _sheet(dataset: Dataset, side: int) -> list[SheetRow]:
    names, train = dataset.manifest.class_names, dataset.train
    labels = np.linspace(0, len(names) - 1, min(len(names), _MAX_CLASSES)).round().astype(int)
    rows = []
    for label in labels.tolist():
        own = np.flatnonzero(train.labels == label)
        if len(own) == 0:
            continue
        # Evenly spread, as neighbours in a data set are often of one origin.
        count = min(_COLUMNS, len(own))
        chosen = own[np.linspace(0, len(own) - 1, count).round().astype(int)].astype(np.int64)
        images = _line(train.gather(chosen), side)
        alt = f"{count} training images of class {names[label]}"
        rows.append(SheetRow(name=names[label], count=len(own), images=picture(images, alt)))
    return rows


def _line(images: npt.NDArray[np.uint8], side: int) -> Image.Image:
    """uint8 [N, R, R, C] side by side, each at most `side` pixels."""
    line = strip(images)
    return line if line.height <= side else line.resize(
        (len(images) * side, side), Image.Resampling.BOX
    )  # fmt: skip

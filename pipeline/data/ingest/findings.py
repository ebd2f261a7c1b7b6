"""What the ingest found out about a data set: doubles, and what looks like a mistake."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.ingest.observation import Seen
from pipeline.data.shards.manifest import SPLITS

FEW_IMAGES = 50
"""Below it a class is warned about."""
_NOTICEABLE = 0.1
"""Share of all images from which enlarged or one-coloured ones are warned about."""
_MIN_SPREAD = 2.0
"""Levels of 255: mean deviation of 8x8 grey pictures below which images hardly differ."""
_MAX_LISTED = 100
"""Keys of a group of doubles that are written down."""
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The N images of a data set, in columns."""

    keys: Sequence[str]
    labels: npt.NDArray[np.int32]
    is_heldout: npt.NDArray[np.bool_]
    contents: npt.NDArray[np.uint64]
    """A hash of each image's pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Images with the same pixels."""

    count: int
    keys: list[str]
    """The first of them."""
    labels: list[int]
    splits: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubles:
    """All such groups of a data set."""

    groups: list[Group]
    num_images: int
    """In excess: all but the first of each group."""
    num_across_splits: int
    """Groups that are both in train and in heldout."""
    num_across_classes: int
    """Groups with more than one label."""


def find_doubles(images: Accepted) -> Doubles:
    """Groups of images with equal hashes, in the order of their first."""
    order = np.argsort(images.contents, kind="stable")
    ordered = images.contents[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(ordered)]
    repeated = ends - starts > 1
    spans = zip(starts[repeated].tolist(), ends[repeated].tolist(), strict=True)
    groups = [
        Group(
            count=end - start,
            keys=[images.keys[row] for row in order[start : min(end, start + _MAX_LISTED)]],
            labels=np.unique(images.labels[order[start:end]]).tolist(),
            splits=sorted({SPLITS[row] for row in images.is_heldout[order[start:end]].tolist()}),
        )
        for start, end in sorted(spans, key=lambda span: int(order[span[0]]))
    ]
    return Doubles(
        groups=groups,
        num_images=sum(group.count - 1 for group in groups),
        num_across_splits=sum(len(group.splits) > 1 for group in groups),
        num_across_classes=sum(len(group.labels) > 1 for group in groups),
    )


def find_suspicious(
    class_names: Sequence[str],
    class_counts: npt.NDArray[np.int64],
    seen: Sequence[Seen],
    doubles: Doubles,
    is_tiny: bool,
) -> list[str]:
    """A sentence, without its full stop, for all that is more likely a mistake than meant."""
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
    if total > 1 and doubles.num_images == total - 1:
        found.append(f"all {total} images are identical")
    elif total > 1 and _spread(seen, total) < _MIN_SPREAD:
        found.append("all images are nearly identical")
    if doubles.num_across_splits:
        found.append(
            f"training and held-out images share {_count(doubles.num_across_splits)}, the same "
            "pixel for pixel"
        )
    if doubles.num_across_classes:
        found.append(
            f"classes share {_count(doubles.num_across_classes)}, the same pixel for pixel"
        )
    enlarged = sum(part.num_enlarged for part in seen)
    if enlarged > _NOTICEABLE * total and not is_tiny:
        found.append(f"{enlarged} of {total} originals are smaller than the shards' resolution")
    flat = sum(part.num_flat for part in seen)
    if flat > _NOTICEABLE * total:
        found.append(f"{flat} of {total} images are of one colour")
    return found


def _count(number: int) -> str:
    return f"{number} image{'s' if number > 1 else ''}"


def _spread(seen: Sequence[Seen], total: int) -> float:
    means = np.sum([part.cell_sums for part in seen], axis=0) / total
    squares = np.sum([part.cell_squares for part in seen], axis=0) / total
    return float(np.sqrt(np.maximum(squares - means**2, 0)).mean())


def _alike(class_names: Sequence[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in class_names:
        groups[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _name(name: str, quote: Callable[[str], str] = repr) -> str:
    text = quote(name)
    return text if len(text) <= 60 else f"{text[:57]}..."

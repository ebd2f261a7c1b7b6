"""Opens the source that a configuration names, or a part of it."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.nearest import nearest_name
from pipeline.data.sources.cifar import ARCHIVES, download_archive, open_cifar
from pipeline.data.sources.digits import open_digits
from pipeline.data.sources.image_folder import open_image_folder
from pipeline.data.sources.imagenet import open_imagenet
from pipeline.data.sources.parquet import open_parquet
from pipeline.data.sources.source import Source
from pipeline.data.sources.webdataset import open_webdataset

KINDS = ("digits", "folder", "cifar10", "cifar100", "imagenet", "parquet", "webdataset")
DOWNLOAD = "download"


def open_source(
    kind: str,
    path: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    limit: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    cache: Path | None = None,
    downloads: Path | None = None,
) -> Source:
    """The source of this kind at `path`, on this machine or `s3://`; `classes` and `limit` cut it.

    `cache` is a folder for files from S3 and `downloads` one for `data.path: download`; they are
    made when needed. Raises UserError naming the key that is wrong.
    """
    source = _open(kind, path, image_column, label_column, cache, downloads)
    if classes is not None:
        source = with_classes(source, classes)
    if limit is not None:
        source = with_limit(source, limit)
    return source


def _open(
    kind: str,
    path: str | None,
    image_column: str | None,
    label_column: str | None,
    cache: Path | None,
    downloads: Path | None,
) -> Source:
    if kind not in KINDS:
        raise UserError(f"data.source = {kind!r} is no known source; choose {', '.join(KINDS)}")
    if kind == "digits":
        return open_digits()
    if path is None:
        raise UserError(f"data.path is missing; source: {kind} needs the images' place there")
    if path == DOWNLOAD and kind in ARCHIVES and downloads is not None:
        path = str(download_archive(ARCHIVES[kind], downloads))
    if kind == "folder":
        return open_image_folder(path, cache)
    if kind in ARCHIVES:
        return open_cifar(kind, path, label_column, cache)
    if kind == "imagenet":
        return open_imagenet(path, cache)
    if kind == "parquet":
        return open_parquet(path, image_column, label_column, cache)
    return open_webdataset(path, label_column, cache)


def with_classes(source: Source, names: Sequence[str]) -> Source:
    """Only the classes of these names, in the source's order.

    Raises UserError for an unknown name, with the nearest one, and for an ambiguous one.
    """
    for name in names:
        uses = source.class_names.count(name)
        if uses == 0:
            nearest = nearest_name(name, source.class_names)
            known = f"the nearest is {nearest!r}" if nearest else _some(source.class_names)
            raise UserError(f"data.classes: there is no class {name!r}; {known}")
        if uses > 1:
            raise UserError(f"data.classes: {uses} classes are called {name!r}")
    chosen = [label for label, name in enumerate(source.class_names) if name in set(names)]
    numbers = np.full(len(source.class_names) + 1, -1, np.int32)  # the last is for label -1
    numbers[chosen] = np.arange(len(chosen))
    labels = numbers[source.items.labels]
    items = dataclasses.replace(source.items, labels=labels).take(np.flatnonzero(labels >= 0))
    return dataclasses.replace(
        source,
        class_names=tuple(source.class_names[label] for label in chosen),
        items=items,
        origin={**source.origin, "classes": f"{len(chosen)} of {len(source.class_names)}"},
    )


def with_limit(source: Source, limit: int) -> Source:
    """At most `limit` images, by a hash of their keys; in the source's order.

    Stratified: each class keeps its share, rounded, and at least one image where the limit is not
    below the number of classes. A larger limit keeps all that a smaller one did.
    """
    items = source.items
    if len(items) <= limit:
        return source
    hashes = np.array([_hash(key) for key in items.keys], np.uint64)
    order = np.lexsort((hashes, items.labels))
    labels = items.labels[order]
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    counts = np.diff(np.r_[starts, len(labels)])
    ranks = np.arange(len(labels)) - np.repeat(starts, counts)
    share = (ranks + 0.5) / np.repeat(counts, counts)
    share[ranks == 0] = 0.0
    chosen = order[np.lexsort((hashes[order], share))[:limit]]
    return dataclasses.replace(
        source,
        items=items.take(np.sort(chosen)),
        origin={**source.origin, "limit": f"{limit} of {len(items)}"},
    )


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"sagan-limit").digest()
    return int.from_bytes(digest, "big")


def _some(names: Sequence[str]) -> str:
    return f"there are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"

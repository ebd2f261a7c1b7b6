"""Picks the source that a configuration names."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.sources.cifar import ARCHIVES, download_archive, open_cifar
from pipeline.data.sources.digits import open_digits
from pipeline.data.sources.image_folder import open_image_folder
from pipeline.data.sources.imagenet import open_imagenet
from pipeline.data.sources.parquet import open_parquet
from pipeline.data.sources.source import Source
from pipeline.data.sources.subset import with_classes, with_limit
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
    """The source of this kind at `path`, on this machine or `s3://`; a part of it, if asked for.

    `cache` is a folder for what comes from S3 and `downloads` one for what data.path: download
    fetches; they are made when needed. Raises UserError naming the key that is wrong.
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

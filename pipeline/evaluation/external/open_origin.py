"""Finds out what lies at a path that should hold images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import MANIFEST_FILE
from pipeline.data.sources import tables
from pipeline.data.sources.files import Entry, Listing, list_files, training_files
from pipeline.data.sources.image_folder import is_image
from pipeline.data.sources.tables import read_table
from pipeline.evaluation.external import numpy_file
from pipeline.evaluation.external.folder import folder_origin
from pipeline.evaluation.external.numpy_file import numpy_origin
from pipeline.evaluation.external.origin import Found, Origin
from pipeline.evaluation.external.shards import shards_origin

LAYOUTS = """\
PATH is on this machine or s3://bucket/prefix, and holds one of these:
- image files in a folder: flat, one folder a class, or nested; folders that are called as the
  classes are label the images
- Parquet or Arrow files with a column `image`: files' bytes as the Hugging Face hub has them, or
  uint8 pixels; a column `label` is taken where there is one
- an .npz file: arr_0 uint8 [N, H, W, C], and arr_1 or labels [N] where there is one; or .npy
- this project's shards: their training images"""
_EXPECTED = "expected a folder of images, Parquet or Arrow files, or an .npz file"


def open_origin(path: str, option: str, scratch: Path) -> Origin:
    """The images at `path`, on this machine or in S3, from where files are brought to `scratch`.

    Raises UserError, naming the command line's `option`, for what is not there or holds no images.
    """
    listing = list_files(path, scratch, _EXPECTED, option)
    names = [entry.name for entry in listing.entries]
    if MANIFEST_FILE in names and not listing.directory.is_remote:
        return shards_origin(path, Path(path))
    if any(is_image(name) for name in names):
        return folder_origin(path, listing)
    for suffix in tables.SUFFIXES:
        if any(name.endswith(suffix) for name in names):
            return _tables_origin(path, listing, suffix)
    arrays = [name for name in names if name.endswith(numpy_file.SUFFIXES)]
    if len(arrays) == 1:
        return numpy_origin(path, listing.directory.path(arrays[0]))
    held = f"{len(arrays)} arrays; name one of them" if arrays else _some(names)
    raise UserError(f"{option}: {path} holds {held}; {_EXPECTED}")


def _tables_origin(path: str, listing: Listing, suffix: str) -> Origin:
    entries, note = training_files(listing, path, suffix, _EXPECTED)

    def read() -> Iterator[Found]:
        for entry in entries:
            for row in read_table(listing.directory.path(entry.name)):
                yield Found(f"{entry.name}/{row.row:06}", row.raw, row.label)

    return Origin(path=path, layout=f"{_count(entries)} of {suffix}", read=read, note=note)


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} file{'s' if len(entries) > 1 else ''}"


def _some(names: Sequence[str]) -> str:
    if not names:
        return "no files"
    return f"no images but {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"

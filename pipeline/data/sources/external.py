"""External images in any layout: a folder, file or S3 prefix, with or without labels."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.sources import numpy_file, tables
from pipeline.data.sources.files import Listing, list_files, training_files
from pipeline.data.sources.image_folder import is_image
from pipeline.data.sources.source import Raw, Unreadable

LAYOUTS = """\
PATH is on this machine or s3://bucket/prefix, and holds one of these:
- image files in a folder: flat, one folder a class, or nested; folders with the names of the
  classes label the images
- Parquet or Arrow files with a column `image`: files' bytes as the Hugging Face hub has them, or
  uint8 pixels; a column `label` is used if there is one
- an .npz file: arr_0 uint8 [N, H, W, C], and arr_1 or labels [N] if there is one; or .npy"""
_EXPECTED = "expected a folder of images, Parquet or Arrow files, or an .npz file"

Label = int | str | tuple[str, ...] | None
"""A number, a name, the folders of an image from the outermost on, or none."""


@dataclass(frozen=True, slots=True)
class ExternalImage:
    """One image, not yet decoded."""

    key: str
    """Its name within the set."""
    raw: Raw | Unreadable
    label: Label


@dataclass(frozen=True, kw_only=True, slots=True)
class ExternalImages:
    """A set of images at one path."""

    path: str
    """As the user gave it."""
    layout: str
    """Description of what is there, for the protocol."""
    read: Callable[[], Iterator[ExternalImage]]
    """Yields all images, in the same order every time."""
    class_names: tuple[str, ...] | None = None
    """Names of the labels 0, 1, ..., where the files hold them."""
    note: str = ""
    """A remark for the user; empty when there is nothing."""


def open_external(path: str, option: str, scratch: Path) -> ExternalImages:
    """The images at `path`; files from S3 are downloaded to `scratch`.

    Raises UserError, which names the command line's `option`, where there are none.
    """
    listing = list_files(path, scratch, _EXPECTED, option)
    names = [entry.name for entry in listing.entries]
    if any(is_image(name) for name in names):
        return _folder(path, listing)
    for suffix in tables.SUFFIXES:
        if any(name.endswith(suffix) for name in names):
            return _tables(path, listing, suffix)
    arrays = [name for name in names if name.endswith(numpy_file.SUFFIXES)]
    if len(arrays) == 1:
        return _arrays(path, listing.directory.path(arrays[0]))
    held = f"no images but {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
    if arrays:
        held = f"{len(arrays)} arrays; name one of them"
    raise UserError(f"{option}: {path} holds {held if names else 'no files'}; {_EXPECTED}")


def _folder(path: str, listing: Listing) -> ExternalImages:
    names = [entry.name for entry in listing.entries if is_image(entry.name)]
    others = len(listing.entries) - len(names)

    def read() -> Iterator[ExternalImage]:
        for name, raw in zip(names, listing.directory.read(names), strict=True):
            yield ExternalImage(name, raw, tuple(name.split("/")[:-1]))

    def below(depth: int) -> str:
        if depth < 2:
            return ("directly in the folder", "one folder down")[depth]
        return f"{depth} folders down"

    depths = Counter(name.count("/") for name in names)
    counts = [f"{count} {below(depth)}" for depth, count in sorted(depths.items())]
    return ExternalImages(
        path=path,
        layout=f"image files {', '.join(counts) if len(depths) > 1 else below(*depths)}",
        read=read,
        note=f"passed over: {others} files without an image's name" if others else "",
    )


def _tables(path: str, listing: Listing, suffix: str) -> ExternalImages:
    entries, note = training_files(listing, path, suffix, _EXPECTED)

    def read() -> Iterator[ExternalImage]:
        for entry in entries:
            for row in tables.read_table(listing.directory.path(entry.name)):
                yield ExternalImage(f"{entry.name}/{row.row:06}", row.raw, row.label)

    plural = "s" if len(entries) > 1 else ""
    return ExternalImages(
        path=path, layout=f"{len(entries)} file{plural} of {suffix}", read=read, note=note
    )


def _arrays(path: str, file: Path) -> ExternalImages:
    arrays = numpy_file.open_arrays(path, file)

    def read() -> Iterator[ExternalImage]:
        for row, image in enumerate(arrays.images()):
            label = None if arrays.labels is None else int(arrays.labels[row])
            yield ExternalImage(f"{row:06}", image, label)

    shape = ", ".join(map(str, arrays.shape))
    return ExternalImages(
        path=path, layout=f"{arrays.name or file.name} uint8 [{shape}]", read=read
    )

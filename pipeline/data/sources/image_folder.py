"""A folder of images with one sub-folder a class, on this machine or in S3."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Directory, Entry, Listing, list_files, short_name
from pipeline.data.sources.source import Items, Source, Unreadable

# fmt: off
SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pcx", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
))
# fmt: on
_EXPECTED = "expected one sub-folder a class with images in it, such as <path>/cat/1.png"
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test", "testing", "eval"))
_MAX_NAMED = 3


def open_image_folder(path: str | Path, cache: Path | None = None) -> Source:
    """The images below `path`, one class a sub-folder, classes in the order of their names.

    Sub-folders of a class belong to it. Hidden files and folders are skipped; other files without
    the suffix of an image become items that cannot be read. Raises UserError for a folder of
    another form.
    """
    listing = list_files(str(path), cache, _EXPECTED)
    return folder_source(listing, str(path), {"kind": "folder", "path": str(path)})


def folder_source(
    listing: Listing,
    path: str,
    origin: Mapping[str, str],
    class_names: Mapping[str, str] | None = None,
) -> Source:
    """The source of a listed folder; `class_names` renames classes by their folders."""
    if listing.is_file:
        raise UserError(f"data.path: {path} is a file; {_EXPECTED}")
    by_class: dict[str, list[Entry]] = {name: [] for name in listing.folders}
    loose: list[Entry] = []
    for entry in listing.entries:
        folder, slash, _ = entry.name.partition("/")
        (by_class[folder] if slash else loose).append(entry)
    num_loose = sum(is_image(entry.name) for entry in loose)
    if not by_class:
        found = (
            f"has {num_loose} images directly in it and no sub-folder; where it is the folder of "
            "one class, name the one that it is in"
            if num_loose
            else "has no sub-folder and no image"
        )
        raise UserError(f"data.path: {path} {found}; {_EXPECTED}")
    warnings = _check_depth(path, by_class)
    for name, entries in by_class.items():
        if not any(is_image(entry.name) for entry in entries):
            raise UserError(
                f"data.path: class folder {path}/{name} has no images "
                f"({', '.join(sorted(SUFFIXES))}); fill it or remove it"
            )
    passed_over = [f"{num_loose} images outside of a class"] if num_loose else []
    if listing.hidden_folders:
        passed_over.append(f"hidden folders ({_some(listing.hidden_folders)})")
    note = f"passed over: {', '.join(passed_over)}" if passed_over else ""
    return Source(
        name=short_name(path),
        class_names=tuple((class_names or {}).get(name, name) for name in by_class),
        items=_items(by_class),
        read=_FolderReader(listing.directory),
        origin=origin,
        preprocessing={},
        note=note,
        warnings=warnings,
    )


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class _FolderReader:
    directory: Directory

    def __call__(self, items: Items) -> Iterator[bytes | Unreadable]:
        contents = self.directory.read([key for key in items.keys if is_image(key)])
        for key in items.keys:
            if is_image(key):
                yield next(contents)
            else:
                suffix = PurePosixPath(key).suffix
                yield Unreadable(f"{suffix or 'a name without suffix'} is not an image's")


def _items(by_class: Mapping[str, Sequence[Entry]]) -> Items:
    entries = [entry for files in by_class.values() for entry in files]
    return Items(
        keys=[entry.name for entry in entries],
        labels=np.repeat(
            np.arange(len(by_class), dtype=np.int32), [len(files) for files in by_class.values()]
        ),
        where=np.array([(e.bytes, e.mtime_ns) for e in entries], np.int64).reshape(-1, 2),
    )


def _check_depth(path: str, by_class: Mapping[str, Sequence[Entry]]) -> tuple[str, ...]:
    """Raises UserError one level above the classes; warns where that is only likely."""
    inner: dict[str, Counter[str]] = defaultdict(Counter)
    for name, entries in by_class.items():
        for entry in entries:
            parts = entry.name.split("/")
            if is_image(entry.name):
                inner[name]["" if len(parts) == 2 else parts[1]] += 1
    nested = {name for name, folders in inner.items() if "" not in folders and len(folders) > 1}
    if not nested or nested != set(inner):
        return ()
    name = min(nested, key=lambda n: (n.lower() not in ("train", "training"), n))
    sub_folders = _some(sorted(inner[name]))
    found = f"{path}/{name} holds no image itself but {len(inner[name])} folders of images"
    if len(nested) == 1 or all(name.lower() in _SPLITS for name in nested):
        raise UserError(
            f"data.path: {path} is one level above the classes: {found} ({sub_folders}); "
            f"{_EXPECTED}: perhaps {path}/{name}"
        )
    return (
        f"every class folder holds its images in further folders, such as {name} in {sub_folders}; "
        "if those are the classes, data.path is one level too high",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")

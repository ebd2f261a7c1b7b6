"""A folder of images with one sub-folder a class."""

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from PIL import Image

from pipeline.data.sources.source import Sample, Source
from pipeline.data.sources.square import RECIPE, VERSIONS, to_square
from pipeline.errors import UserError

_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_EXPECTED = "expected one sub-folder a class with images in it, such as <path>/cat/1.png"

# Every way in which Pillow's decoders fail on damaged bytes.
_DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_image_folder(path: str | Path, resolution: int, channels: int) -> Source:
    """The images below `path`, one class a sub-folder, classes in the order of their names.

    Sub-folders of a class belong to it; hidden files and folders are passed over. Raises UserError
    when the folder is not of that form. `samples` raises one for files that cannot be decoded.
    """
    root = Path(path)
    if not root.exists():
        raise UserError(f"data.path: {root} does not exist; {_EXPECTED}")
    if not root.is_dir():
        raise UserError(f"data.path: {root} is a file; {_EXPECTED}")
    try:
        entries = list(root.iterdir())
    except OSError as error:
        _refuse(error)
    class_names = sorted(e.name for e in entries if e.is_dir() and _is_visible(e.name))
    num_loose = sum(_is_image(entry.name) for entry in entries if entry.is_file())
    if not class_names:
        found = f"has {num_loose} images directly in it" if num_loose else "has no sub-folder"
        raise UserError(f"data.path: {root} {found}; {_EXPECTED}")

    files: list[tuple[str, int]] = []  # path below the root and label
    others: Counter[str] = Counter({"images outside of a class": num_loose})
    for label, name in enumerate(class_names):
        images = _images_below(root, name, others)
        if not images:
            raise UserError(
                f"data.path: class folder {root / name} has no images "
                f"({', '.join(sorted(_SUFFIXES))}); fill it or remove it"
            )
        files += [(image, label) for image in images]
    passed_over = ", ".join(f"{count} {what}" for what, count in sorted(others.items()) if count)
    return Source(
        name=root.resolve().name,
        class_names=tuple(class_names),
        samples=lambda: _samples(root, files, resolution, channels),
        origin={"kind": "folder", "path": str(path)},
        preprocessing={**RECIPE, "versions": VERSIONS},
        note=f"passed over: {passed_over}" if passed_over else "",
    )


def _samples(
    root: Path, files: Sequence[tuple[str, int]], resolution: int, channels: int
) -> Iterator[Sample]:
    damaged: list[str] = []
    for key, label in files:
        try:
            with Image.open(root / key) as image:
                square = to_square(image, resolution, channels)
        except _DECODE_ERRORS as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            damaged.append(f"{root / key} ({reason})")
            continue
        # After the first damaged file the rest is only looked at, so that one run finds them all.
        if not damaged:
            yield key, square, label
    if damaged:
        more = f"; further ones: {', '.join(damaged[1:5])}" if len(damaged) > 1 else ""
        raise UserError(
            f"{len(damaged)} of {len(files)} images cannot be decoded; "
            f"repair or remove {damaged[0]}{more}{', ...' if len(damaged) > 5 else ''}"
        )


def _images_below(root: Path, class_name: str, others: Counter[str]) -> list[str]:
    """Paths of the class's images below the root, with `/`, in the order of the characters."""
    images = []
    for folder, sub_folders, names in os.walk(root / class_name, onerror=_refuse):
        sub_folders[:] = filter(_is_visible, sub_folders)
        for name in filter(_is_visible, names):
            if _is_image(name):
                images.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others[f"{Path(name).suffix.lower() or 'suffixless'} files"] += 1
    for image in images:
        try:
            image.encode()
        except UnicodeEncodeError:
            raise UserError(f"data.path: the name {image!a} is not UTF-8; rename it") from None
    return sorted(images)


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"data.path: {error.filename} cannot be read ({error.strerror})") from None


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _is_image(name: str) -> bool:
    return _is_visible(name) and Path(name).suffix.lower() in _SUFFIXES

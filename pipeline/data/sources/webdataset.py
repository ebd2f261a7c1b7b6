"""WebDataset tars: the files of a sample are adjacent and share the name up to the first dot.

https://github.com/webdataset/webdataset: `0001.jpg` with `0001.cls` or `0001.json`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Listing, list_files, short_name, training_files
from pipeline.data.sources.image_folder import is_image
from pipeline.data.sources.source import Items, Source, number_labels
from pipeline.data.sources.tar_index import Member, TarReader, members

_EXPECTED = "expected .tar files of samples such as 0001.jpg and 0001.cls, or 0001.json"
_NAMES_FILE = "classes.txt"
_JSON_FIELDS = ("label", "cls", "class")
_MAX_LABEL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Sample:
    key: str
    image: Member | None
    label: int | str | None


def open_webdataset(path: str, label_column: str | None, cache: Path | None) -> Source:
    """A tar or a folder of tars, those of the training split where their names contain it.

    A label is the number or text in `.cls`, or a field of `.json`: `label_column`, else the first
    of label, cls, class. `classes.txt` beside the tars may hold the names of numbers, one a line.
    Keys are `<tar>/<name>`. Raises UserError for archives of another form.
    """
    listing = list_files(path, cache, _EXPECTED)
    archives, note = training_files(listing, path, ".tar", _EXPECTED)
    samples: list[_Sample] = []
    where: list[tuple[int, int, int, int, int]] = []
    for number, archive in enumerate(archives):
        with listing.directory.path(archive.name).open("rb") as file:
            for sample in _samples(file, archive.name, label_column):
                image = sample.image or Member("", 0, 0)
                samples.append(sample)
                where.append((number, image.offset, image.bytes, archive.bytes, archive.mtime_ns))
    if not any(sample.image for sample in samples):
        raise UserError(f"data.path: {path} has no image in its tars; {_EXPECTED}")
    if all(sample.label is None for sample in samples):
        raise UserError(
            f"data.path: {path} has no label that is known; data.label_column names the field of "
            f".json; {_EXPECTED}"
        )
    values = [sample.label for sample in samples]
    labels, class_names = number_labels(values, _names(listing), path)
    return Source(
        name=short_name(path).removesuffix(".tar"),
        class_names=class_names,
        items=Items(
            keys=[sample.key for sample in samples],
            labels=labels,
            where=np.array(where, np.int64).reshape(-1, 5),
        ),
        read=TarReader(listing.directory, tuple(archive.name for archive in archives)),
        origin={"kind": "webdataset", "path": path},
        preprocessing={},
        note=note,
    )


def _samples(file: BinaryIO, archive: str, field: str | None) -> Iterator[_Sample]:
    """The samples of one archive; an image or a label that is missing is None."""
    prefix: str | None = None
    parts: list[Member] = []
    for member in members(file, archive):
        folder, slash, name = member.name.rpartition("/")
        key = folder + slash + name.partition(".")[0]
        if key != prefix and prefix is not None:
            yield _sample(file, f"{archive}/{prefix}", parts, field)
            parts = []
        prefix = key
        parts.append(member)
    if prefix is not None:
        yield _sample(file, f"{archive}/{prefix}", parts, field)


def _sample(file: BinaryIO, key: str, parts: list[Member], field: str | None) -> _Sample:
    image = next((part for part in parts if is_image(part.name)), None)
    label: int | str | None = None
    for part in parts:
        is_cls, is_json = part.name.endswith(".cls"), part.name.endswith(".json")
        if label is not None or not (is_cls or is_json) or part.bytes > _MAX_LABEL_BYTES:
            continue
        back = file.tell()
        file.seek(part.offset)
        content = file.read(part.bytes)
        file.seek(back)
        label = _number_or_text(content) if is_cls and field is None else None
        if is_json:
            label = _json_label(content, field)
    return _Sample(key, image, label)


def _number_or_text(content: bytes) -> int | str | None:
    text = content.decode("utf-8", "replace").strip()
    try:
        return int(text)
    except ValueError:
        return text or None


def _json_label(content: bytes, field: str | None) -> int | str | None:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    names = (field,) if field is not None else _JSON_FIELDS
    values = (fields[name] for name in names if name in fields)
    value = next(values, None)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _names(listing: Listing) -> list[str] | None:
    if not listing.directory.has(_NAMES_FILE):
        return None
    text = listing.directory.path(_NAMES_FILE).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line] or None

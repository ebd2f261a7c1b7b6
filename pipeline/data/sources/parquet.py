"""Parquet files with a column of image files' bytes and one of labels.

The Hugging Face hub's layout: `image: {bytes, path}`, `label: int` with names in the metadata
(https://huggingface.co/docs/datasets/about_dataset_features); plain columns are read as well.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Directory, Entry, list_files, short_name, training_files
from pipeline.data.sources.source import Items, Source, Unreadable, number_labels
from pipeline.data.sources.tables import LABEL_NAMES, holds_files, is_label, label_names

_EXPECTED = "expected .parquet files with a column of images and one of labels"


def open_parquet(
    path: str, image_column: str | None, label_column: str | None, cache: Path | None
) -> Source:
    """A file or a folder of files, those of the training split where their names contain it.

    A column that is None is found by types and names. Labels are numbers, named by the metadata,
    or texts. Keys are `<file>/<row>`. Raises UserError for files of
    another form, and where there is more than one choice.
    """
    listing = list_files(path, cache, _EXPECTED)
    files, note = training_files(listing, path, ".parquet", _EXPECTED)
    first = _open(listing.directory, files[0])
    image_column = _image_column(first.schema_arrow, image_column, path)
    label_column = _label_column(first.schema_arrow, label_column, image_column, path)
    keys: list[str] = []
    values: list[int | str | None] = []
    where: list[npt.NDArray[np.int64]] = []
    for number, entry in enumerate(files):
        file = _open(listing.directory, entry)
        for column in (image_column, label_column):
            ours, theirs = first.schema_arrow.field(column), _field(file.schema_arrow, column)
            if theirs is None or ours.type != theirs.type:
                raise UserError(
                    f"data.path: {entry.name} has no column {column!r} as {files[0].name} has it"
                )
        column = _read(file, entry.name, None, label_column)
        keys += [f"{entry.name}/{row:06}" for row in range(len(column))]
        values += column.to_pylist()
        sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(size) for size in sizes)])
        groups = np.repeat(np.arange(len(sizes)), sizes)
        constant = np.full((2, len(rows)), [[entry.bytes], [entry.mtime_ns]])
        where.append(np.stack([np.full(len(rows), number), groups, rows, *constant], axis=1))
    labels, class_names = number_labels(values, label_names(first.schema_arrow, label_column), path)
    return Source(
        name=short_name(path).removesuffix(".parquet"),
        class_names=class_names,
        items=Items(keys=keys, labels=labels, where=np.concatenate(where)),
        read=_ParquetReader(listing.directory, files, image_column),
        origin={"kind": "parquet", "path": path, "columns": f"{image_column}, {label_column}"},
        preprocessing={},
        note=note,
    )


@dataclass(frozen=True)
class _ParquetReader:
    directory: Directory
    files: tuple[Entry, ...]
    column: str

    def __call__(self, items: Items) -> Iterator[bytes | Unreadable]:
        at: tuple[int, int] | None = None
        for number, group, row in items.where[:, :3].tolist():
            if at != (number, group):
                at = (number, group)
                images = self._images(*at)
            content = images[row].as_py()
            yield content if content is not None else Unreadable("no bytes in its row")

    def _images(self, number: int, group: int) -> pa.Array:
        entry = self.files[number]
        images = _read(
            _open(self.directory, entry), entry.name, group, self.column
        ).combine_chunks()
        if isinstance(images, pa.ChunkedArray):  # of no chunk at all
            images = pa.concat_arrays(images.chunks)
        return images.field("bytes") if pa.types.is_struct(images.type) else images


@functools.lru_cache(maxsize=8)
def _open(directory: Directory, entry: Entry) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(directory.path(entry.name), memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(entry.name, error) from None


def _read(file: pq.ParquetFile, name: str, group: int | None, column: str) -> pa.ChunkedArray:
    try:
        whole = group is None
        table = file.read([column]) if whole else file.read_row_group(group, [column])
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, error) from None
    return table.column(column)


def _image_column(schema: pa.Schema, asked: str | None, path: str) -> str:
    found = [field.name for field in schema if holds_files(field.type)]
    if asked is None and len(found) == 1:
        return found[0]
    if asked in found:
        return str(asked)
    return _refuse("image_column", asked, found, schema, path)


def _label_column(schema: pa.Schema, asked: str | None, image_column: str, path: str) -> str:
    possible = [
        field.name for field in schema if is_label(field.type) and field.name != image_column
    ]
    if asked in possible:
        return str(asked)
    if asked is None:
        named = [name for name in possible if label_names(schema, name)]
        usual = [name for name in possible if name in LABEL_NAMES]
        for found in (named, usual, possible):
            if len(found) == 1:
                return found[0]
    return _refuse("label_column", asked, possible, schema, path)


def _refuse(key: str, asked: str | None, found: list[str], schema: pa.Schema, path: str) -> str:
    value = f"data.{key} = {asked!r} is not such a column" if asked else f"data.{key} is needed"
    choice = f"choose one of {', '.join(found)}" if found else "no column can be it"
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    raise UserError(f"{value}; {choice}; {path} has {columns}")


def _field(schema: pa.Schema, name: str) -> pa.Field | None:
    index = schema.get_field_index(name)
    return schema.field(index) if index >= 0 else None


def _damaged(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"data.path: {name} is no whole Parquet file ({reason}); fetch it anew")

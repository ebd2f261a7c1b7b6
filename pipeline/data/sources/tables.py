"""Images in Parquet and Arrow files of any layout, read in order.

An image is a file's bytes, as on the Hugging Face hub (`image: {bytes, path}`) or plain, or
pixels: uint8 in nested lists [H][W] or [H][W][C], or flat, as in this project's shards, where the
image is a square of 1 or 3 channels. Labels may be missing.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.data.sources.source import Raw, Unreadable

LABEL_NAMES = ("label", "labels", "fine_label", "class", "cls", "target")
"""Usual names of label columns."""
SUFFIXES = (".parquet", ".arrow", ".feather")
_IMAGE_NAMES = ("image", "images", "img", "pixels")
_BATCH = 256


def holds_files(kind: pa.DataType) -> bool:
    """Whether a column holds files' bytes, plain or as the hub's `{bytes, path}`."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_binary(kind.field(index).type)
    return is_binary(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes of any length."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of any form."""
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_label(kind: pa.DataType) -> bool:
    """Whether values are numbers or texts that may be labels."""
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def label_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names of the hub's ClassLabel, in the schema's metadata; None where there are none."""
    try:
        content: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = content["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if valid and names else None


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image."""

    row: int
    """Its index in the file."""
    raw: Raw | Unreadable
    label: int | str | None
    """A name where the file has names of the labels."""


def read_table(path: Path) -> Iterator[TableRow]:
    """The images of one file; raises UserError where it is damaged or no column holds images."""
    schema, batches = _open(path)
    image = _image_column(schema, path)
    label = _label_column(schema)
    names = None if label is None else label_names(schema, label)
    row = 0
    try:
        for batch in batches([image] if label is None else [image, label]):
            labels = [None] * len(batch) if label is None else batch.column(label).to_pylist()
            column = batch.column(image)
            if pa.types.is_struct(column.type):
                column = column.field("bytes")
            for place, value in enumerate(labels):
                yield TableRow(row, _raw(column[place]), _named(value, names))
                row += 1
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _open(path: Path) -> tuple[pa.Schema, Any]:
    """The schema, and a function of column names that gives the record batches."""
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path, memory_map=True)
            return file.schema_arrow, lambda columns: file.iter_batches(_BATCH, columns=columns)
        source = pa.memory_map(str(path))
        try:
            reader = pa.ipc.open_file(source)
            whole = (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:  # the hub's own Arrow files are streams
            source.seek(0)
            reader = whole = pa.ipc.open_stream(source)
        return reader.schema, lambda columns: (batch.select(columns) for batch in whole)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _raw(value: pa.Scalar) -> Raw | Unreadable:
    if not value.is_valid:
        return Unreadable("no image in its row")
    if is_binary(value.type):
        content: bytes = value.as_py()
        return content
    if pa.types.is_fixed_size_binary(value.type):
        return _square(np.frombuffer(value.as_py(), np.uint8))
    values = value.values
    shape = [len(values)]
    while is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) != 1:
            return Unreadable("its rows of pixels are not equally long")
        shape += lengths
        values = values.flatten()
    pixels = values.to_numpy(zero_copy_only=False)
    if len(shape) == 1:
        return _square(pixels)
    if pixels.dtype != np.uint8 or len(shape) > 3 or shape[2:] not in ([], [1], [3], [4]):
        return Unreadable(f"{pixels.dtype} values of shape {shape} are no uint8 [H, W, C]")
    return pixels.reshape(shape[:2] if shape[2:] == [1] else shape)


def _square(pixels: npt.NDArray[np.uint8]) -> Raw | Unreadable:
    for channels in (1, 3):  # R R = 3 S S has no solution: never both
        side = math.isqrt(len(pixels) // channels)
        if side and side * side * channels == len(pixels):
            return pixels.reshape((side, side) if channels == 1 else (side, side, 3))
    return Unreadable(f"{len(pixels)} values are no square of 1 or 3 channels")


def _image_column(schema: pa.Schema, path: Path) -> str:
    found = [field.name for field in schema if _holds_images(field.type)]
    named = [name for name in _IMAGE_NAMES if name in found]
    if len(found) == 1 or named:
        return (named or found)[0]
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema) or "no columns"
    raise UserError(
        f"{path} has {columns}; {'several' if found else 'none'} may hold images: name one "
        "`image`, with files' bytes or uint8 pixels"
    )


def _label_column(schema: pa.Schema) -> str | None:
    found = [field.name for field in schema if is_label(field.type)]
    return next((name for name in LABEL_NAMES if name in found), None)


def _holds_images(kind: pa.DataType) -> bool:
    if is_list(kind):
        while is_list(kind):
            kind = kind.value_type
        return bool(kind == pa.uint8())
    return holds_files(kind) or pa.types.is_fixed_size_binary(kind)


def _named(value: int | str | None, names: list[str] | None) -> int | str | None:
    if value is None or value == -1:  # the hub's value for no label
        return None
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    return value


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path} is no whole Parquet or Arrow file ({reason}); fetch it anew")

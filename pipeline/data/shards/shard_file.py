"""One shard: an uncompressed Arrow IPC file that holds one record batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """The columns of an open shard; images and keys are views of the mapped file."""

    images: npt.NDArray[np.uint8]
    """[N, H, W, C], read-only."""
    labels: npt.NDArray[np.int32]
    """[N], read-only."""
    keys: pa.StringArray
    """[N]."""


def write_shard(
    path: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    keys: Sequence[str],
) -> None:
    """Writes images uint8 [N, H, W, C], labels int32 [N] and N keys; not atomic by itself."""
    row_bytes = int(np.prod(images.shape[1:]))
    schema = _schema(row_bytes)
    columns = [
        pa.FixedSizeBinaryArray.from_buffers(
            schema.field("image").type,
            len(images),
            [None, pa.py_buffer(np.ascontiguousarray(images))],
        ),
        pa.array(labels, pa.int32()),
        pa.array(keys, pa.string()),
    ]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def open_shard(path: Path, rows: int, shape: tuple[int, int, int]) -> Shard:
    """Maps a shard of `rows` images of `shape` [H, W, C] and checks all but the pixels.

    Raises UserError naming the file when it is no shard of that shape.
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            if not reader.schema.equals(_schema(int(np.prod(shape)))):
                raise damaged(path, "its columns are not those of this data set")
            if reader.num_record_batches != 1:
                raise damaged(path, f"it holds {reader.num_record_batches} record batches, not 1")
            batch = reader.get_batch(0)
        # Offsets of a damaged key column could point outside of the file and crash the process.
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error).splitlines()[0]) from None
    if batch.num_rows != rows or any(column.null_count for column in batch.columns):
        raise damaged(path, f"it holds {batch.num_rows} rows or gaps, not {rows} full rows")
    images = _view(batch.column("image"), np.dtype(np.uint8), int(np.prod(shape)))
    labels = _view(batch.column("label"), np.dtype(np.int32), 1)
    return Shard(images=images.reshape(rows, *shape), labels=labels, keys=batch.column("key"))


def _schema(row_bytes: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("image", pa.binary(row_bytes), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
            pa.field("key", pa.string(), nullable=False),
        ]
    )


def _view(column: pa.Array, dtype: np.dtype, width: int) -> npt.NDArray:
    """The column's values as a flat array over the mapped file, without a copy."""
    first = column.offset * width
    return np.frombuffer(
        column.buffers()[1], dtype, len(column) * width, offset=first * dtype.itemsize
    )


def damaged(path: Path, reason: str) -> UserError:
    """The error for a shard that is not what it should be."""
    return UserError(
        f"{path} is damaged: {reason}; write the shards anew with `dvc repro --force shard`"
    )

"""Features of images as an uncompressed Arrow IPC file of one record batch, mapped when read.

Columns `features` (a fixed-size list of float32), `logits` (the same; absent without classes),
`label` (int64) and `key` (string: where the image came from).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureFile:
    """The columns of an open file. What is written to its arrays stays in memory."""

    features: Float32
    """[N, d], mapped."""
    logits: Float32
    """[N, k], mapped; k may be 0."""
    labels: npt.NDArray[np.int64]
    """[N], mapped."""
    keys: pa.StringArray
    """[N], mapped."""


def write_features(
    path: Path,
    features: Float32,
    logits: Float32,
    labels: npt.NDArray[np.int64],
    keys: Sequence[str],
) -> None:
    """Writes [N, d], [N, k], [N] and N keys; not atomic by itself. Arrays may be mapped files."""
    columns = {
        "features": _lists(features),
        **({"logits": _lists(logits)} if logits.shape[1] else {}),
        "label": pa.array(labels, pa.int64()),
        "key": pa.array(keys, pa.string()),
    }
    schema = pa.schema([pa.field(n, c.type, nullable=False) for n, c in columns.items()])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))


def open_features(path: Path) -> FeatureFile:
    """Maps a file that `write_features` made; raises ValueError for any other."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            start = source.read_buffer(1).address
            if reader.num_record_batches != 1:
                raise ValueError(f"it holds {reader.num_record_batches} record batches, not 1")
            batch = reader.get_batch(0)
        batch.validate(full=True)  # offsets of a damaged column could point outside of the file
    except pa.ArrowException as error:
        raise ValueError(str(error).splitlines()[0]) from None
    expected = {"features", "label", "key"}
    if set(batch.schema.names) - {"logits"} != expected or any(c.null_count for c in batch):
        raise ValueError(f"its columns are {batch.schema.names}, or have gaps")
    if not pa.types.is_int64(batch.column("label").type):
        raise ValueError("its labels are no int64")
    features = _mapped_lists(path, start, batch.column("features"))
    has_logits = "logits" in batch.schema.names
    logits = _mapped_lists(path, start, batch.column("logits")) if has_logits else features[:, :0]
    labels = _mapped(
        path, start, batch.column("label").buffers()[1], np.dtype(np.int64), len(batch)
    )
    return FeatureFile(features=features, logits=logits, labels=labels, keys=batch.column("key"))


def _lists(rows: Float32) -> pa.FixedSizeListArray:
    flat = np.ascontiguousarray(rows, np.float32)
    values = pa.Array.from_buffers(pa.float32(), flat.size, [None, pa.py_buffer(flat)])
    return pa.FixedSizeListArray.from_arrays(values, rows.shape[1])


def _mapped_lists(path: Path, start: int, column: pa.Array) -> Float32:
    kind = column.type
    if not pa.types.is_fixed_size_list(kind) or not pa.types.is_float32(kind.value_type):
        raise ValueError(f"a column is {kind}, not lists of float32")
    size = len(column) * kind.list_size
    flat = _mapped(path, start, column.buffers()[-1], np.dtype(np.float32), size)
    return flat.reshape(len(column), kind.list_size)


def _mapped(path: Path, start: int, buffer: pa.Buffer, dtype: np.dtype, count: int) -> npt.NDArray:
    if count == 0:
        return np.empty(0, dtype)
    # Copied on writing: what takes arrays for its own, as torch does, asks for writable ones.
    mapped = np.memmap(path, dtype, "c", buffer.address - start, (count,))
    return mapped.view(np.ndarray)

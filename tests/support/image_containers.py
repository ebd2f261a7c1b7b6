"""The same images in every layout that can be scored."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer]


def png(image: Images) -> bytes:
    """An image [H, W, C] as a file's content."""
    content = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, "PNG")
    return content.getvalue()


def write_flat(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """Files side by side, without classes."""
    path.mkdir(parents=True)
    for row, image in enumerate(images):
        (path / f"{row:04}.png").write_bytes(png(image))
    return path


def write_by_class(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """A folder a class, below another."""
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = path / "run-7" / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:04}.png").write_bytes(png(image))
    (path / "run-7" / "README.txt").write_text("made by somebody")
    return path


def write_npz(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """guided-diffusion's layout."""
    np.savez(path.with_suffix(".npz"), images, labels)
    return path.with_suffix(".npz")


def write_compressed(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """Named arrays, compressed."""
    np.savez_compressed(path.with_suffix(".npz"), images=images, labels=labels)
    return path.with_suffix(".npz")


def write_npy(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """One array."""
    np.save(path.with_suffix(".npy"), images)
    return path.with_suffix(".npy")


def write_hub(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """Two Parquet files as the Hugging Face hub has them, with names of labels."""
    path.mkdir()
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    rows = [{"bytes": png(image), "path": None} for image in images]
    half = len(rows) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        table = pa.table({"image": rows[part], "label": labels[part].astype(np.int64)})
        name = f"train-{number:05}-of-00002.parquet"
        pq.write_table(table.replace_schema_metadata(metadata), path / name, row_group_size=7)
    return path


def write_nested(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """Pixels in nested lists, labels as texts, in an Arrow stream."""
    kind = pa.list_(pa.list_(pa.list_(pa.uint8())))
    texts = [names[label] for label in labels]
    table = pa.table({"img": pa.array(images.tolist(), kind), "label": texts})
    path = path.with_suffix(".arrow")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=11)
    return path


def write_fixed(path: Path, images: Images, labels: Labels, names: tuple[str, ...]) -> Path:
    """Flat pixels of a fixed size, in an Arrow file."""
    size = int(np.prod(images.shape[1:]))
    column = pa.array([image.tobytes() for image in images], pa.binary(size))
    table = pa.table({"pixels": column, "label": pa.array(labels.astype(np.int32))})
    path = path.with_suffix(".arrow")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


WRITERS: tuple[Callable[[Path, Images, Labels, tuple[str, ...]], Path], ...] = (
    write_flat,
    write_by_class,
    write_npz,
    write_compressed,
    write_npy,
    write_hub,
    write_nested,
    write_fixed,
)

"""Parquet files in the hub's layout and in plain ones."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import read_manifest
from pipeline.data.sources.select import open_source
from pipeline.data.sources.source import Unreadable
from tests.support.photographs import encoded

ODD_NAMES = ("<script>alert(1)</script>", "../../etc/passwd", "\U0001f431", "x" * 300, "CON", "")


def _png(value: int) -> bytes:
    return encoded(Image.new("L", (8, 8), value), "PNG")


def _hub(names: tuple[str, ...], column: str = "label") -> dict[bytes, bytes]:
    features = {
        "image": {"_type": "Image"},
        column: {"names": list(names), "_type": "ClassLabel"},
    }
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def _write(path: Path, rows: range, num_classes: int, names: tuple[str, ...]) -> None:
    image = pa.array(
        [{"bytes": _png(row), "path": None} for row in rows],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    label = pa.array([row % num_classes for row in rows], pa.int64())
    table = pa.table({"image": image, "label": label})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(_hub(names)), path, row_group_size=4)


def test_the_hubs_layout(tmp_path: Path) -> None:
    names = ("cat", "dog", "eel")
    _write(tmp_path / "data" / "train-00000-of-00002-abc.parquet", range(10), 3, names)
    _write(tmp_path / "data" / "train-00001-of-00002-def.parquet", range(10, 17), 3, names)
    _write(tmp_path / "data" / "test-00000-of-00001.parquet", range(17, 20), 3, names)
    source = open_source("parquet", str(tmp_path))
    assert source.class_names == names
    assert source.items.labels.tolist() == [row % 3 for row in range(17)]
    assert source.items.keys[0] == "data/train-00000-of-00002-abc.parquet/000000"
    assert source.items.keys[-1] == "data/train-00001-of-00002-def.parquet/000006"
    assert list(source.read(source.items)) == [_png(row) for row in range(17)]
    some = source.items.take(np.array([16, 2, 9, 3]))
    assert list(source.read(some)) == [_png(row) for row in (16, 2, 9, 3)]
    assert source.note == "passed over: 1 .parquet files of other splits"
    alone = open_source("parquet", str(tmp_path / "data" / "test-00000-of-00001.parquet"))
    assert list(alone.read(alone.items)) == [_png(row) for row in range(17, 20)]


def test_plain_columns_and_texts_for_labels(tmp_path: Path) -> None:
    path = tmp_path / "birds.parquet"
    labels = ["wren", "kite", "wren", None]
    images = [_png(1), _png(2), None, _png(4)]
    pq.write_table(pa.table({"pixels": pa.array(images, pa.large_binary()), "kind": labels}), path)
    source = open_source("parquet", str(path))
    assert source.name == "birds"
    assert source.class_names == ("kite", "wren")
    assert source.items.labels.tolist() == [1, 0, 1, -1]
    assert list(source.read(source.items)) == [
        _png(1), _png(2), Unreadable("no bytes in its row"), _png(4)
    ]  # fmt: skip


def test_numbers_without_names(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [_png(i) for i in range(4)], "label": [7, 3, 10, -1]})
    pq.write_table(table, path)
    source = open_source("parquet", str(path))
    assert source.class_names == ("3", "7", "10")
    assert source.items.labels.tolist() == [1, 0, 2, -1]


def test_ambiguous_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {"img": [_png(0)], "thumb": [_png(1)], "fine_label": [1], "coarse_label": [0]},
    )
    pq.write_table(table, path)
    with pytest.raises(UserError, match=r"data\.image_column is needed; choose one of img, thumb"):
        open_source("parquet", str(path))
    with pytest.raises(UserError, match=r"data\.image_column = 'fine_label' is not such a column"):
        open_source("parquet", str(path), image_column="fine_label")
    with pytest.raises(UserError, match=r"'nope' .*choose one of fine_label, coarse_label; "):
        open_source("parquet", str(path), image_column="img", label_column="nope")
    source = open_source("parquet", str(path), image_column="thumb", label_column="coarse_label")
    assert list(source.read(source.items)) == [_png(1)]
    assert source.class_names == ("0",)


def test_labels_without_a_name_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", range(6), 3, ("cat", "dog"))
    with pytest.raises(UserError, match="has label 2, but names of 2 classes"):
        open_source("parquet", str(tmp_path))


def test_files_of_other_forms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes\.txt and no \.parquet file; expected"):
        open_source("parquet", str(tmp_path))
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no Parquet")
    with pytest.raises(UserError, match=r"a\.parquet is no whole Parquet file"):
        open_source("parquet", str(tmp_path))
    pq.write_table(pa.table({"image": [[1, 2]], "label": [0]}), path)
    with pytest.raises(UserError, match="image_column is needed; no column can be it"):
        open_source("parquet", str(tmp_path))
    _write(path, range(6), 2, ("cat", "dog"))
    pq.write_table(pa.table({"image": [_png(0)], "label": [0]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet has no column 'image' as a\.parquet has it"):
        open_source("parquet", str(tmp_path))


def test_cut_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _write(path, range(20), 2, ("cat", "dog"))
    content = path.read_bytes()
    for size in (0, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="is no whole Parquet file"):
            open_source("parquet", str(path))


def test_unusual_class_names_are_kept(tmp_path: Path) -> None:
    num = len(ODD_NAMES)
    _write(tmp_path / "a.parquet", range(4 * num), num, ODD_NAMES)
    manifest = write_dataset(
        open_source("parquet", str(tmp_path)),
        tmp_path / "shards",
        Preprocessing(resolution=32, channels=3),
        heldout_fraction=0.0,
        shard_rows=10,
    )
    assert manifest.class_names == ODD_NAMES
    assert read_manifest(tmp_path / "shards") == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "shards"]

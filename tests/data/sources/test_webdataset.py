"""WebDataset tars: samples, labels of each form, and what is missing in them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.sources.select import open_source
from tests.support.photographs import encoded


def _jpeg(value: int) -> bytes:
    return encoded(Image.new("L", (8, 8), value), "JPEG")


def _write(path: Path, files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_numbers_in_cls(tmp_path: Path, kind: int) -> None:
    for shard in (1, 0):
        files: dict[str, bytes] = {}
        for index in range(5):
            files[f"./{shard}/{index:04}.cls"] = b"%d\n" % (10 - index)
            files[f"./{shard}/{index:04}.jpg"] = _jpeg(5 * shard + index)
        _write(tmp_path / f"set-{shard:06}.tar", files, kind)
    source = open_source("webdataset", str(tmp_path))
    assert source.class_names == ("6", "7", "8", "9", "10")
    assert source.items.labels.tolist() == [4, 3, 2, 1, 0] * 2
    assert source.items.keys[:2] == ["set-000000.tar/0/0000", "set-000000.tar/0/0001"]
    assert list(source.read(source.items)) == [_jpeg(index) for index in range(10)]
    some = source.items.take(np.array([9, 0]))
    assert list(source.read(some)) == [_jpeg(9), _jpeg(0)]
    (tmp_path / "classes.txt").write_text("\n".join(f"class {i}" for i in range(11)))
    assert open_source("webdataset", str(tmp_path)).class_names[10] == "class 10"


def test_fields_of_json_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    files: dict[str, bytes] = {}
    for index, kind in enumerate(("wren", "kite", "wren")):
        files[f"{index}.seg.png"] = _jpeg(index)
        files[f"{index}.json"] = json.dumps({"label": index, "kind": kind}).encode()
    _write(path, files)
    source = open_source("webdataset", str(path))
    assert source.name == "a"
    assert source.class_names == ("0", "1", "2")
    by_kind = open_source("webdataset", str(path), label_column="kind")
    assert by_kind.class_names == ("kite", "wren")
    assert by_kind.items.labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"no label that is known; data\.label_column names"):
        open_source("webdataset", str(path), label_column="nope")


def test_incomplete_samples_are_items_that_cannot_be_used(tmp_path: Path) -> None:
    files = {
        "0.jpg": _jpeg(0), "0.cls": b"1", "1.jpg": _jpeg(1), "2.cls": b"1",
        "3.jpg": _jpeg(3), "3.json": b"{not json", "4.jpg": _jpeg(4), "4.cls": b"0",
    }  # fmt: skip
    _write(tmp_path / "a.tar", files)
    source = open_source("webdataset", str(tmp_path))
    assert source.items.labels.tolist() == [1, -1, 1, -1, 0]
    assert list(source.read(source.items)) == [_jpeg(0), _jpeg(1), b"", _jpeg(3), _jpeg(4)]


def test_the_training_split_is_read(tmp_path: Path) -> None:
    for name in ("imagenet-train-0000.tar", "imagenet-val-0000.tar"):
        _write(tmp_path / name, {"0.jpg": _jpeg(0), "0.cls": b"0"})
    source = open_source("webdataset", str(tmp_path))
    assert source.items.keys == ["imagenet-train-0000.tar/0"]
    assert source.note == "passed over: 1 .tar files of other splits"


def test_other_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds nothing and no \.tar file"):
        open_source("webdataset", str(tmp_path))
    path = tmp_path / "a.tar"
    _write(path, {"notes.txt": b"hello"})
    with pytest.raises(UserError, match="has no image in its tars"):
        open_source("webdataset", str(tmp_path))
    _write(path, {f"{index}.jpg": _jpeg(index) for index in range(9)} | {"0.cls": b"0"})
    content = path.read_bytes()
    for size in (len(content) // 2, 700, 0):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"a\.tar .*fetch|no label|no image"):
            open_source("webdataset", str(tmp_path))
    damaged = bytearray(content)
    at = content.index(b"5.jpg")
    damaged[at : at + 400] = b"x" * 400
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.tar is damaged or cut short at byte"):
        open_source("webdataset", str(tmp_path))

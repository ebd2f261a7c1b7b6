"""A source in a bucket equals the one in a folder; errors of buckets."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.sources.select import open_source
from pipeline.data.sources.source import Unreadable
from tests.support.photographs import encoded
from tests.support.s3_server import FaultyS3, serve_s3

TEXT = b"n01440764 tench, Tinca tinca\nn02012849 crane\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with serve_s3() as layer:
        yield layer


def _png(value: int) -> bytes:
    return encoded(Image.new("L", (8, 8), value), "PNG")


def _tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [_png(i) for i in range(5)], "label": [0, 1, 0, 1, 0]}), file)
    return file.getvalue()


def _files() -> dict[str, dict[str, bytes]]:
    """By kind, the files of a small data set."""
    synsets = ("n01440764", "n02012849")
    tree = {f"train/{s}/{s}_{n}.JPEG": _png(n) for s in synsets for n in range(3)}
    inner = {f"{s}.tar": _tar({f"{s}_{n}.JPEG": _png(n) for n in range(3)}) for s in synsets}
    samples = {f"{n}.{kind}": content for n in range(4) for kind, content in
               (("png", _png(n)), ("json", json.dumps({"label": n % 2}).encode()))}  # fmt: skip
    return {
        "folder": {f"{name}/{n} \u00e9.png": _png(n) for name in ("cat", "dog") for n in range(40)},
        "imagenet": {**tree, "LOC_synset_mapping.txt": TEXT},
        "imagenet tar": {"ILSVRC2012_img_train.tar": _tar(inner), "synset_words.txt": TEXT},
        "parquet": {"data/train-00000.parquet": _parquet()},
        "webdataset": {"a-0.tar": _tar(samples), "a-1.tar": _tar(samples), "classes.txt": b"x\ny"},
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(_files()))
def test_a_bucket_is_a_folder(tmp_path: Path, s3: FaultyS3, kind: str) -> None:
    bucket = s3.new_bucket()
    for name, content in _files()[kind].items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        s3.client.put_object(Bucket=bucket[5:], Key=f"sets/one/{name}", Body=content)
    name = kind.partition(" ")[0]
    cache = tmp_path / "cache"
    here = open_source(name, str(tmp_path / "here"))
    there = open_source(name, f"{bucket}/sets/one", cache=cache)
    assert there.class_names == here.class_names
    assert list(there.items.keys) == list(here.items.keys)
    assert there.items.labels.tolist() == here.items.labels.tolist()
    assert list(there.read(there.items)) == list(here.read(here.items))
    if kind in ("parquet", "webdataset", "imagenet tar"):
        s3.heal()
        assert list(there.read(there.items)) == list(here.read(here.items))
        assert s3.count("GET", r"\.(tar|parquet)") == 0  # they are in the cache
        single = next(iter(_files()[kind]))
        alone = open_source(name, f"{bucket}/sets/one/{single}", cache=cache)
        assert set(alone.items.labels.tolist()) == {0, 1}


def test_deleted_objects_and_passing_errors(tmp_path: Path, s3: FaultyS3) -> None:
    bucket = s3.new_bucket()
    for n in range(3):
        s3.client.put_object(Bucket=bucket[5:], Key=f"cat/{n}.png", Body=_png(n))
    source = open_source("folder", bucket, cache=tmp_path)
    s3.client.delete_object(Bucket=bucket[5:], Key="cat/1.png")
    s3.fail("503 SlowDown", method="GET", path="cat/2", times=1)
    assert list(source.read(source.items)) == [_png(0), Unreadable("is gone from S3"), _png(2)]


@pytest.mark.parametrize("kind", ["folder", "cifar10", "imagenet", "parquet", "webdataset"])
def test_errors_of_buckets(tmp_path: Path, s3: FaultyS3, kind: str) -> None:
    bucket = s3.new_bucket()
    with pytest.raises(UserError, match=rf"data\.path: {bucket}/a holds no objects; expected"):
        open_source(kind, f"{bucket}/a", cache=tmp_path)
    with pytest.raises(UserError, match="the bucket does not exist; create it or correct"):
        open_source(kind, "s3://there-is-no-such-bucket", cache=tmp_path)
    s3.fail("403 AccessDenied")
    with pytest.raises(UserError, match="access is denied; let these credentials"):
        open_source(kind, f"{bucket}/b", cache=tmp_path)
    s3.heal()
    with pytest.raises(UserError, match="names no possible bucket"):
        open_source(kind, "s3://UPPER/case", cache=tmp_path)


def test_one_level_too_high_in_a_bucket(tmp_path: Path, s3: FaultyS3) -> None:
    bucket = s3.new_bucket()
    for name in ("cat", "dog"):
        s3.client.put_object(Bucket=bucket[5:], Key=f"set/train/{name}/1.png", Body=_png(0))
    with pytest.raises(UserError, match=rf"perhaps {bucket}/set/train"):
        open_source("folder", f"{bucket}/set", cache=tmp_path)
    assert open_source("folder", f"{bucket}/set/train", cache=tmp_path).class_names == (
        "cat",
        "dog",
    )

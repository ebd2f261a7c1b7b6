"""CIFAR's archives as published, packed and unpacked; other and unsafe files are refused."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.sources.cifar import ARCHIVES, download_archive, read_pickle
from pipeline.data.sources.select import open_source

PER_BATCH = 12


class _PythonTwo(pickle._Pickler):
    """Writes byte strings as Python 2 did, as in the published files."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)  # type: ignore[attr-defined]
        self.memoize(content)  # type: ignore[attr-defined]

    dispatch[bytes] = save_bytes


def _pickled(content: Any) -> bytes:
    file = io.BytesIO()
    _PythonTwo(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _batch(seed: int, kind: str) -> tuple[np.ndarray, dict[bytes, Any]]:
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (PER_BATCH, 3072), np.uint8)
    labels = [(seed + index) % 10 for index in range(PER_BATCH)]
    if kind == "cifar10":
        return data, {b"data": data, b"labels": labels, b"batch_label": b"batch"}
    coarse = [label // 5 for label in labels]
    return data, {b"data": data, b"fine_labels": labels, b"coarse_labels": coarse}


def _write(folder: Path, kind: str) -> list[np.ndarray]:
    """An archive of few images, unpacked; returns the training batches' data."""
    archive = ARCHIVES[kind]
    inner = folder / archive.folder
    inner.mkdir(parents=True)
    datas = []
    for seed, name in enumerate((*archive.batches, "test_batch" if kind == "cifar10" else "test")):
        data, content = _batch(seed, kind)
        (inner / name).write_bytes(_pickled(content))
        datas.append(data)
    names = [b"airplane", *(b"thing %d" % index for index in range(9))]
    meta = {b"label_names": names} if kind == "cifar10" else {
        b"fine_label_names": names, b"coarse_label_names": [b"one", b"two"]
    }  # fmt: skip
    (inner / archive.meta).write_bytes(_pickled(meta))
    return datas[:-1]


def _pack(folder: Path, kind: str) -> Path:
    path = folder / ARCHIVES[kind].url.rpartition("/")[2]
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / ARCHIVES[kind].folder, ARCHIVES[kind].folder)
    return path


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_the_training_images_packed_and_unpacked(tmp_path: Path, kind: str) -> None:
    batches = _write(tmp_path, kind)
    packed = _pack(tmp_path, kind)
    expected = np.concatenate(batches).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    inner = tmp_path / ARCHIVES[kind].folder
    alone = tmp_path / "alone" / packed.name
    alone.parent.mkdir()
    alone.write_bytes(packed.read_bytes())
    for path in (tmp_path, inner, packed, alone.parent):
        source = open_source(kind, str(path))
        assert source.class_names[:2] == ("airplane", "thing 0")
        assert np.array_equal(np.stack(list(source.read(source.items))), expected)
        assert source.items.keys[0] == f"{ARCHIVES[kind].batches[0]}/00000"
        assert source.items.labels[:3].tolist() == [0, 1, 2]
        some = source.items.take(np.array([5, len(expected) - 1]))
        assert np.array_equal(np.stack(list(source.read(some))), expected[[5, -1]])


def test_coarse_labels(tmp_path: Path) -> None:
    _write(tmp_path, "cifar100")
    source = open_source("cifar100", str(tmp_path), label_column="coarse_labels")
    assert source.class_names == ("one", "two")
    assert source.items.labels[:7].tolist() == [0, 0, 0, 0, 0, 1, 1]
    with pytest.raises(UserError, match="choose one of fine_labels, coarse_labels"):
        open_source("cifar100", str(tmp_path), label_column="labels")


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "cifar10")
    trace = tmp_path / "ran"
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(_Evil(trace)))
    with pytest.raises(UserError, match=r"data_batch_3 .* asks for posix\.system"):
        open_source("cifar10", str(tmp_path))
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"cnumpy\nload\n.",
        pickle.dumps(functools.partial(print)),
        pickle.dumps({b"data": np.array([object()])}, protocol=2),
        pickle.dumps({b"data": np.zeros(3)}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 2), np.uint8, order="F")}, protocol=2),
        pickle.dumps(np.zeros((2, 2), np.uint8), protocol=2),
        pickle.dumps([b"data"], protocol=2),
    ],
)
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError):
        read_pickle(content)


def test_damaged_archives_are_refused_by_name(tmp_path: Path) -> None:
    _write(tmp_path, "cifar10")
    packed = _pack(tmp_path, "cifar10")
    content = packed.read_bytes()
    other = tmp_path / "other" / packed.name
    other.parent.mkdir()
    for damaged in (content[: len(content) // 2], b"no archive", b""):
        other.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz .* fetch it anew"):
            open_source("cifar10", str(other))
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    content = batch.read_bytes()
    for damaged in (content[:2000], content.replace(b"labels", b"lapels")):
        batch.write_bytes(damaged)
        with pytest.raises(UserError, match="data_batch_2"):
            open_source("cifar10", str(tmp_path))
    batch.unlink()
    with pytest.raises(UserError, match="fetch it anew"):
        open_source("cifar10", str(tmp_path / "cifar-10-batches-py" / "test_batch"))


def test_missing_batches_are_named(tmp_path: Path) -> None:
    _write(tmp_path, "cifar10")
    (tmp_path / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(UserError, match=r"lacks data_batch_4; expected cifar-10-python\.tar\.gz"):
        open_source("cifar10", str(tmp_path))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server of files."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def test_download_is_checked_and_kept(tmp_path: Path, served: tuple[str, Path]) -> None:
    url, folder = served
    file = folder / "cifar-10-python.tar.gz"
    file.write_bytes(b"the archive" * 1000)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    archive = replace(ARCHIVES["cifar10"], url=f"{url}/{file.name}", md5=md5)
    path = download_archive(archive, tmp_path / "raw")
    assert path.read_bytes() == file.read_bytes()
    file.write_bytes(b"another")
    assert download_archive(archive, tmp_path / "raw") == path
    with pytest.raises(UserError, match="is not the published archive"):
        download_archive(archive, tmp_path / "elsewhere")
    file.unlink()
    with pytest.raises(UserError, match=r"cannot be fetched \(.*; fetch it elsewhere and set"):
        download_archive(archive, tmp_path / "elsewhere")
    unreachable = replace(archive, url="http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(UserError, match=r"cannot be fetched \(.*Connection refused"):
        download_archive(unreachable, tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere").iterdir()) == []

"""Reference statistics are computed once for each data set, extractor and version of the code."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.shards.feature_file import open_features, write_features
from pipeline.data.shards.reader import Dataset, dataset_of, open_dataset
from pipeline.evaluation.reference import cache
from pipeline.evaluation.reference.cache import ReferenceCache
from pipeline.evaluation.reference.compute import Made
from pipeline.evaluation.reference.folder import read_reference
from tests.support.evaluated_models import Prepared
from tests.support.subjects import write_references, write_stripes


def _make(dataset: Dataset, folder: Path, name: str = "out", **changes: Any) -> Made:
    arguments = {"cache_dir": folder / "cache", **changes}
    (made,) = write_references(dataset, folder / name, **arguments)
    return made


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def _entries(folder: Path) -> list[Path]:
    return sorted((folder / "cache").iterdir())


@pytest.fixture
def dataset(prepared: Prepared) -> Dataset:
    """The stripes, opened."""
    return open_dataset(prepared.shards)


class Unreadable:
    """Shards of which none may be opened."""

    capacity: int | None = None
    capacity_text = ""
    num_threads = 1

    def fetch(self, index: int) -> Path:
        raise AssertionError(f"shard {index} was opened")

    def release(self, index: int) -> None:
        raise AssertionError


def _unreadable(dataset: Dataset) -> Dataset:
    return dataset_of(dataset.manifest, {name: Unreadable() for name in dataset.manifest.splits})


def test_the_second_time_no_image_is_read(dataset: Dataset, tmp_path: Path) -> None:
    assert _make(dataset, tmp_path, "a").cached is None
    with pytest.raises(AssertionError, match="shard 0 was opened"):
        _make(_unreadable(dataset), tmp_path, "b", seed=1)
    made = _make(_unreadable(dataset), tmp_path, "b")
    assert [made.cached] == _entries(tmp_path)
    assert _content(tmp_path / "b") == _content(tmp_path / "a")
    read_reference(tmp_path / "b" / "dataset-cnn", dataset.manifest)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"cnn_epochs": 2}, {"keep_features": 20}])
def test_what_decides_the_numbers_makes_another(
    dataset: Dataset, tmp_path: Path, changes: dict[str, int]
) -> None:
    _make(dataset, tmp_path, "a")
    assert _make(dataset, tmp_path, "b", **changes).cached is None
    assert len(_entries(tmp_path)) == 2


def test_other_images_and_other_code_make_another(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(dataset, tmp_path, "a")
    write_stripes(tmp_path / "shards", per_class=8, seed=1)
    assert _make(open_dataset(tmp_path / "shards"), tmp_path, "b").cached is None
    sources = ("pipeline/core/images.py",)
    monkeypatch.setattr(cache, "RESULT_SOURCES", sources)
    assert _make(dataset, tmp_path, "c").cached is None
    assert len(_entries(tmp_path)) == 3


@pytest.mark.parametrize("name", ["train.arrow", "protocol.json", "weights.safetensors"])
def test_a_damaged_entry_is_told_and_made_anew(
    dataset: Dataset, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _make(dataset, tmp_path, "a")
    (entry,) = _entries(tmp_path)
    damaged = entry / name
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert _make(dataset, tmp_path, "b").cached is None
    printed = capsys.readouterr().err
    assert printed.startswith(f"warning: {damaged} is damaged")
    assert printed.endswith("; it is made anew\n")
    assert _content(tmp_path / "b") == _content(tmp_path / "a")
    assert _make(dataset, tmp_path, "c").cached == entry
    assert _entries(tmp_path) == [entry]


def test_those_who_make_it_at_the_same_time_leave_one(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    left = tmp_path / "cache" / ".making-killed.tmp"
    left.mkdir()
    os.utime(left, (0, 0))
    identity = {"extractor": "dataset-cnn"}
    cache = ReferenceCache(tmp_path / "cache")
    _make(dataset, tmp_path, "a", cache_dir=None)
    with cache.staging(tmp_path) as first, cache.staging(tmp_path) as second:
        for folder in (first, second):
            shutil.copytree(tmp_path / "a" / "dataset-cnn", folder / "dataset-cnn")
            cache.publish(folder / "dataset-cnn", dataset.manifest, identity)
    (entry,) = _entries(tmp_path)
    assert cache.find(dataset.manifest, identity) == entry
    assert _content(entry) == _content(tmp_path / "a" / "dataset-cnn")


def test_a_cache_that_cannot_be_written_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"choose another runtime\.cache_dir"):
        _make(dataset, tmp_path, cache_dir=tmp_path / "file" / "cache")
    assert not (tmp_path / "out").exists()


def test_feature_files_keep_what_they_hold(tmp_path: Path) -> None:
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    labels, path = np.arange(4), tmp_path / "features.arrow"
    for logits in (features + 1, features[:, :0]):  # with classes, and without
        write_features(path, features, logits, labels, list("abcd"))
        opened = open_features(path)
        np.testing.assert_array_equal(opened.features, features)
        np.testing.assert_array_equal(opened.logits, logits)
        np.testing.assert_array_equal(opened.labels, labels)
        assert opened.keys.to_pylist() == list("abcd")
        torch.from_numpy(opened.features).add_(1)  # in memory alone, and without a warning
        np.testing.assert_array_equal(open_features(path).features, features)
    for content in (b"", path.read_bytes()[:100], b"\0" * 300):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"Arrow|small"):
            open_features(path)

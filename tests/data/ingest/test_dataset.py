"""Shards hold the source's images, in whole folders with a digest of their content."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.plan import is_heldout
from pipeline.data.ingest.shard_task import ShardResult, ShardTask, make_shard
from pipeline.data.shards.manifest import identity_digest, read_manifest
from pipeline.data.shards.reader import open_dataset
from tests.data.ingest.samples import (
    PREPROCESSING,
    Sample,
    random_samples,
    sample_source,
    write_samples,
)


@pytest.mark.parametrize("shard_rows", [1, 7, 1000])
def test_round_trip_of_images_labels_and_keys(tmp_path: Path, shard_rows: int) -> None:
    samples = random_samples(60, 3)
    manifest = write_samples(samples, tmp_path / "out", num_classes=3, shard_rows=shard_rows)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.manifest == manifest == read_manifest(tmp_path / "out")
    assert manifest.rows == 60

    expected: dict[str, list[Sample]] = {"train": [], "heldout": []}
    for sample in samples:
        expected["heldout" if is_heldout(sample[0], 0.25) else "train"].append(sample)
    for name, rows in (("train", dataset.train), ("heldout", dataset.heldout)):
        keys, images, labels = zip(*expected[name], strict=True)
        assert len(rows) == len(keys) == manifest.splits[name].rows > 0
        assert len(manifest.splits[name].shards) == -(-len(keys) // shard_rows)
        assert all(shard.rows <= shard_rows for shard in manifest.splits[name].shards)
        everything = np.arange(len(rows))
        assert rows.keys(everything) == list(keys)
        assert np.array_equal(rows.labels, labels)
        assert np.array_equal(rows.gather(everything), images)
        counts = np.bincount(labels, minlength=3)
        assert list(manifest.splits[name].class_counts) == counts.tolist()


def test_the_layout_is_one_uncompressed_batch_a_file(tmp_path: Path) -> None:
    manifest = write_samples(random_samples(20, 2), tmp_path, num_classes=2, shard_rows=8)
    for shard in (*manifest.splits["train"].shards, *manifest.splits["heldout"].shards):
        with pa.memory_map(str(tmp_path / shard.file)) as source, pa.ipc.open_file(source) as file:
            assert file.num_record_batches == 1
            types = {field.name: str(field.type) for field in file.schema}
            assert types == {
                "image": "fixed_size_binary[48]", "label": "int32", "key": "string"
            }  # fmt: skip
            image = file.get_batch(0).column("image")[0].as_py()
        assert image in (tmp_path / shard.file).read_bytes()
    assert manifest.splits["train"].shards[0].file == "train-00000.arrow"
    assert manifest.splits["heldout"].shards[0].file == "heldout-00000.arrow"


def test_the_digest_names_the_content_and_nothing_else(tmp_path: Path) -> None:
    samples = random_samples(40, 2)

    def digest(folder: str, samples: list[Sample], **options: float) -> str:
        options = {"num_classes": 2, "shard_rows": 16, **options}
        return write_samples(samples, tmp_path / folder, **options).digest  # type: ignore[arg-type]

    first = digest("a", samples)
    assert digest("elsewhere/b", samples) == first
    assert write_samples(
        samples, tmp_path / "c", num_classes=2, shard_rows=16, name="other name"
    ).digest == first  # fmt: skip

    key, image, label = samples[17]
    flipped = image.copy()
    flipped[3, 2, 1] ^= 1
    changes = [(key, flipped, label), (key, image, 1 - label), (key + "x", image, label)]
    digests = {digest(f"d{i}", [*samples[:17], c, *samples[18:]]) for i, c in enumerate(changes)}
    digests |= {digest("e", samples[:-1]), digest("f", samples, heldout_fraction=0.5)}
    assert len(digests | {first}) == 6


def test_versions_are_recorded_outside_of_the_digest(tmp_path: Path) -> None:
    manifest = write_samples(random_samples(8, 2), tmp_path, num_classes=2, shard_rows=8)
    assert manifest.preprocessing["versions"]["pyarrow"] == pa.__version__
    assert manifest.preprocessing["versions"]["numpy"] == np.__version__
    other = dataclasses.replace(
        manifest, preprocessing={**manifest.preprocessing, "versions": {"numpy": "0"}}
    )
    assert identity_digest(other) == manifest.digest
    other = dataclasses.replace(
        manifest, preprocessing={**manifest.preprocessing, "resize": "nearest"}
    )
    assert identity_digest(other) != manifest.digest


def test_a_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write_samples(random_samples(40, 2), out, num_classes=2, shard_rows=4)
    manifest = write_samples(random_samples(12, 2, seed=1), out, num_classes=2, shard_rows=100)
    files = {shard.file for split in manifest.splits.values() for shard in split.shards}
    assert {path.name for path in out.iterdir()} == {*files, "manifest.json"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    def broken(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        yield make_shard(tasks[0])
        raise OSError("no space left on device")

    out = tmp_path / "shards"
    before = write_samples(random_samples(8, 2), out, num_classes=2, shard_rows=8)
    samples = random_samples(30, 2)
    options: dict[str, Any] = {"heldout_fraction": 0.25, "shard_rows": 4}
    with pytest.raises(OSError, match="no space"):
        write_dataset(sample_source(samples, 2), out, PREPROCESSING, executor=broken, **options)
    assert read_manifest(out) == before
    assert (tmp_path / "shards.tmp" / "shards" / "train-00000.arrow").exists()
    after = write_dataset(sample_source(samples, 2), out, PREPROCESSING, **options)
    assert after == write_samples(samples, tmp_path / "other", num_classes=2, shard_rows=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "shards"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "shards.tmp"
    leftover.mkdir()
    (leftover / "train-00099.arrow").write_bytes(b"half")
    write_samples(random_samples(8, 2), tmp_path / "shards", num_classes=2, shard_rows=8)
    assert not leftover.exists()
    assert not (tmp_path / "shards" / "train-00099.arrow").exists()


def test_folders_that_hold_anything_else_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path)
    for out, reason in [
        (tmp_path, "holds .*, which is no shard"),
        (tmp_path / "thesis.txt", "is a file"),
        (tmp_path / "thesis.txt" / "below", "cannot be made"),
        (tmp_path / "link", "is a link"),
    ]:
        with pytest.raises(UserError, match=reason):
            write_samples(random_samples(8, 2), out, num_classes=2, shard_rows=8)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'class 2' has no image left to train on"):
        write_samples(random_samples(8, 2), tmp_path / "out", num_classes=3, shard_rows=8)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_heldout_split(tmp_path: Path) -> None:
    write_samples(random_samples(8, 2), tmp_path, num_classes=2, shard_rows=8, heldout_fraction=0.0)
    dataset = open_dataset(tmp_path)
    assert (len(dataset.train), len(dataset.heldout)) == (8, 0)
    assert dataset.heldout.gather(np.empty(0, np.int64)).shape == (0, 4, 4, 3)
    assert dataset.heldout.keys(np.empty(0, np.int64)) == []

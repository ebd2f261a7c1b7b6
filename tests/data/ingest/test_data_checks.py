"""Rejected images are listed, duplicates counted, and likely mistakes warned about."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import Manifest, read_manifest
from pipeline.data.shards.reader import open_dataset
from pipeline.data.sources.arrays import array_source
from pipeline.data.sources.select import open_source
from tests.support.photographs import encoded, photograph

PREPROCESSING = Preprocessing(resolution=32, channels=3)


def _write(folder: Path, out: Path, **options: Any) -> Manifest:
    options = {"heldout_fraction": 0.2, "shard_rows": 16, **options}
    return write_dataset(open_source("folder", str(folder)), out, PREPROCESSING, **options)


def _fill(folder: Path, count: int = 60, names: tuple[str, ...] = ("cat", "dog")) -> None:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(photograph(48, 40, seed=1000 * label + index))
            (folder / name / f"{index:03}.jpg").write_bytes(encoded(image, "JPEG"))


def _spoil(folder: Path) -> dict[str, str]:
    """Spoils images of a class in every way; returns the beginnings of the reasons."""
    whole = (folder / "cat" / "000.jpg").read_bytes()
    spoilt = {
        "001.jpg": (b"", "an empty file"),
        "005.jpg": (whole[: len(whole) * 4 // 5], "image file is truncated"),
        "017.jpg": (b"<!DOCTYPE html>", "no known image format; it begins with b'<!DOC"),
        "030.jpg": (encoded(Image.new("1", (20000, 10000)), "PNG"), "a decompression bomb"),
        "readme.txt": (b"hello", ".txt is not an image's"),
    }
    for name, (content, _) in spoilt.items():
        (folder / "cat" / name).write_bytes(content)
    return {f"cat/{name}": reason for name, (_, reason) in spoilt.items()}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_rejected_images_are_listed_and_leave_the_others_where_they_are(tmp_path: Path) -> None:
    _fill(tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "readme.txt").touch()
    before = _write(tmp_path / "photos", tmp_path / "before")
    spoilt = _spoil(tmp_path / "photos")
    after = _write(tmp_path / "photos", tmp_path / "after", max_rejected_fraction=0.05)

    listed = {line["key"]: line["reason"] for line in _lines(tmp_path / "after/rejected.jsonl")}
    assert listed.keys() == spoilt.keys()
    for key, reason in spoilt.items():
        assert listed[key].startswith(reason)
    assert after.observations["rejected"]["images"] == 5
    assert {r["key"] for r in after.observations["rejected"]["first"]} == spoilt.keys()
    assert after.rows == before.rows - 4

    # Of the shards after the last spoilt image of `cat`, all are byte for byte the same.
    old = {entry.file: entry for entry in before.splits["train"].shards}
    same = [entry for entry in after.splits["train"].shards if old[entry.file] == entry]
    assert len(old) == 6
    assert len(same) >= 2
    dataset = open_dataset(tmp_path / "after")
    kept = {key for rows in (dataset.train, dataset.heldout)
            for key in rows.keys(np.arange(len(rows)))}  # fmt: skip
    assert not kept & spoilt.keys()
    assert len(kept) == after.rows


def test_too_many_rejected_images_are_refused_with_the_head_of_the_list(tmp_path: Path) -> None:
    _fill(tmp_path / "photos")
    _spoil(tmp_path / "photos")
    out = tmp_path / "shards"
    with pytest.raises(UserError) as caught:
        _write(tmp_path / "photos", out)
    message = str(caught.value)
    assert message.startswith("5 of 121 images cannot be used, more than data.max_rejected_fract")
    assert f"{out}.tmp/rejected.jsonl lists them: cat/" in message
    assert "cat/001.jpg (an empty file)" in message
    assert not out.exists()
    assert len(_lines(tmp_path / "shards.tmp" / "rejected.jsonl")) == 5
    # A raised limit, or a repaired file, takes the shards that are there.
    shard = tmp_path / "shards.tmp" / "shards" / "train-00005.arrow"
    inode = shard.stat().st_ino
    _write(tmp_path / "photos", out, max_rejected_fraction=0.05)
    assert (out / "train-00005.arrow").stat().st_ino == inode
    assert not (tmp_path / "shards.tmp").exists()


def test_nothing_but_rejected_images_is_refused_whatever_the_limit(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.png").touch()
    with pytest.raises(UserError, match="1 of 1 images cannot be used"):
        _write(tmp_path / "photos", tmp_path / "shards", max_rejected_fraction=0.99,
               heldout_fraction=0.0)  # fmt: skip


def test_a_shard_of_rejected_images_has_no_file(tmp_path: Path) -> None:
    _fill(tmp_path / "photos", count=16, names=("cat", "dog"))
    for index in range(8):
        (tmp_path / "photos" / "cat" / f"{index:03}.jpg").write_bytes(b"")
    manifest = _write(
        tmp_path / "photos", tmp_path / "shards", heldout_fraction=0.0, shard_rows=8,
        max_rejected_fraction=0.5,
    )  # fmt: skip
    files = [entry.file for entry in manifest.splits["train"].shards]
    assert files == ["train-00001.arrow", "train-00002.arrow", "train-00003.arrow"]
    assert len(open_dataset(tmp_path / "shards").train) == 24


def test_duplicates_are_found_by_their_pixels(tmp_path: Path) -> None:
    _fill(tmp_path / "photos")
    photos = tmp_path / "photos"
    # The same picture: as the same file, in another format, and in another class.
    content = (photos / "cat" / "010.jpg").read_bytes()
    (photos / "cat" / "copy.jpg").write_bytes(content)
    (photos / "dog" / "copy.jpg").write_bytes(content)
    picture = Image.fromarray(photograph(32, 32, seed=7))
    for number, form in enumerate(("PNG", "BMP", "WEBP")):
        options = {"lossless": True} if form == "WEBP" else {}
        path = photos / "dog" / f"again-{number}.{form.lower()}"
        path.write_bytes(encoded(picture, form, **options))
    manifest = _write(photos, tmp_path / "shards")
    groups = {tuple(sorted(group["keys"])): group
              for group in _lines(tmp_path / "shards" / "duplicates.jsonl")}  # fmt: skip
    first = ("cat/010.jpg", "cat/copy.jpg", "dog/copy.jpg")
    assert set(groups) == {first, ("dog/again-0.png", "dog/again-1.bmp", "dog/again-2.webp")}
    assert groups[first]["labels"] == [0, 1]
    found = manifest.observations["duplicates"]
    assert (found["images"], found["groups"], found["across_classes"]) == (4, 2, 1)
    assert found["across_splits"] == sum(len(group["splits"]) > 1 for group in groups.values())
    assert "classes share 1 image, the same pixel for pixel" in manifest.observations["warnings"]


def _warnings(tmp_path: Path, images: Any, labels: list[int], names: tuple[str, ...]) -> list[str]:
    keys = [str(index) for index in range(len(labels))]
    source = array_source("made", names, keys, images, labels, origin={}, preprocessing={})
    manifest = write_dataset(
        source, tmp_path / "shards", PREPROCESSING, heldout_fraction=0.0, shard_rows=64
    )
    return list(manifest.observations["warnings"])


def _noise(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    # Of 4x4 blocks: fine noise would average out in the small pictures that are compared.
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, side // 4, side // 4, 3), np.uint8)
    return blocks.repeat(4, axis=1).repeat(4, axis=2)


def test_ordinary_images_are_not_warned_about(tmp_path: Path) -> None:
    assert _warnings(tmp_path, _noise(120), [0, 1] * 60, ("a", "b")) == []


def test_suspicious_classes_are_warned_about(tmp_path: Path) -> None:
    assert _warnings(tmp_path, _noise(60), [0] * 60, ("all",)) == [
        "there is one class only, 'all'; every label will be 0"
    ]
    assert _warnings(tmp_path, _noise(60), [0] * 57 + [1] * 3, ("many", "few")) == [
        "1 of 2 classes have fewer than 50 images: 'few' with 3"
    ]
    names = ("Cat", "cat", "\u00e9t\u00e9", "e\u0301te\u0301")
    first, second = _warnings(tmp_path, _noise(240), [0, 1, 2, 3] * 60, names)
    assert first.startswith("classes 'Cat' and 'cat' differ only in case or in the encoding of")
    assert second.startswith("classes '\\xe9t\\xe9' and 'e\\u0301te\\u0301' differ only")
    assert read_manifest(tmp_path / "shards").class_names == names


def test_suspicious_images_are_warned_about(tmp_path: Path) -> None:
    labels, names = [0, 1] * 60, ("a", "b")
    same = np.repeat(_noise(1), 120, axis=0)
    warnings = _warnings(tmp_path, same, labels, names)
    assert warnings[0] == "all 120 images are identical"
    nearly = np.clip(same.astype(int) + _noise(120)[:, :, ::-1] % 3, 0, 255).astype(np.uint8)
    assert _warnings(tmp_path, nearly, labels, names) == ["all images are nearly identical"]
    assert _warnings(tmp_path, _noise(120, side=16), labels, names) == [
        "120 of 120 originals are smaller than the shards' resolution"
    ]
    flat = _noise(120)
    flat[:20] = np.arange(20, dtype=np.uint8)[:, None, None, None]
    assert _warnings(tmp_path, flat, labels, names) == ["20 of 120 images are of one colour"]


def test_one_image_in_both_splits_is_warned_about(tmp_path: Path) -> None:
    images = _noise(200)
    images[100:] = images[:100]
    labels = [index % 2 for index in range(100)] * 2
    keys = [str(index) for index in range(200)]
    source = array_source("made", ("a", "b"), keys, images, labels, origin={}, preprocessing={})
    manifest = write_dataset(
        source, tmp_path / "shards", PREPROCESSING, heldout_fraction=0.5, shard_rows=64
    )
    found = manifest.observations["duplicates"]
    assert (found["groups"], found["across_classes"]) == (100, 0)
    assert 30 < found["across_splits"] < 70
    assert manifest.observations["warnings"] == [
        f"training and held-out images share {found['across_splits']} images, the same pixel for "
        "pixel"
    ]


def test_observations_are_no_part_of_the_identity(tmp_path: Path) -> None:
    labels, names = [0, 1] * 60, ("a", "b")
    _warnings(tmp_path, _noise(120), labels, names)
    digest = read_manifest(tmp_path / "shards").digest
    keys = [str(index) for index in range(120)]
    source = array_source(
        "made", names, keys, _noise(120), labels, origin={}, preprocessing={}, is_tiny=True
    )
    noted = write_dataset(
        source, tmp_path / "noted", PREPROCESSING, heldout_fraction=0.0, shard_rows=64
    )
    assert noted.digest == digest

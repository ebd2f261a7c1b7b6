"""Gathers give the rows asked for; any damage is a sentence that names the file."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.data.shards.reader import open_dataset
from pipeline.data.shards.shard_file import open_shard, write_shard
from pipeline.storage.digest import digest_json
from tests.support.shard_folder import write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "shards", train=[12, 12, 6], heldout=[10])
    return tmp_path / "shards"


@pytest.mark.parametrize("sizes", [[5] * 10, [50], [1, 30, 2, 17]])
def test_gather_in_any_order_with_repeats_into_given_memory(
    tmp_path: Path, sizes: list[int]
) -> None:
    written = write_folder(tmp_path, train=sizes)["train"]
    train = open_dataset(tmp_path).train
    rows = np.random.default_rng(0).integers(0, 50, 200)
    out = np.full((200, 4, 4, 3), 7, np.uint8)
    assert train.gather(rows, out=out) is out
    assert np.array_equal(out, written.images[rows])
    assert np.array_equal(train.gather(rows), out)
    assert np.array_equal(train.gather(rows[:7]), out[:7])
    assert np.array_equal(train.labels_of(rows), written.labels[rows])
    assert np.array_equal(train.labels, written.labels)
    assert train.keys(rows) == [written.keys[row] for row in rows]
    with pytest.raises(ValueError, match="read-only"):
        train.labels[0] = 1


def test_rows_and_memory_that_do_not_fit_are_refused(folder: Path) -> None:
    train = open_dataset(folder).train
    for bad in (-1, len(train)):
        with pytest.raises(IndexError, match="not all in"):
            train.gather(np.array([0, bad]))
        with pytest.raises(IndexError, match="not all in"):
            train.keys(np.array([bad]))
    for out in (np.empty((1, 4, 4, 3), np.uint8), np.empty((2, 4, 4, 3), np.int16)):
        with pytest.raises(ValueError, match="out is"):
            train.gather(np.array([0, 1]), out=out)


def test_images_are_views_of_the_file(tmp_path: Path) -> None:
    images = np.arange(6 * 12, dtype=np.uint8).reshape(6, 2, 2, 3)
    write_shard(tmp_path / "a.arrow", images, np.arange(6, dtype=np.int32), list("abcdef"))
    shard = open_shard(tmp_path / "a.arrow", 6, (2, 2, 3))
    assert np.array_equal(shard.images, images)
    assert not shard.images.flags.owndata
    assert not shard.images.flags.writeable
    assert not shard.labels.flags.writeable
    # The mapping is shared: what is written to the file shows in the view.
    content = (tmp_path / "a.arrow").read_bytes()
    with open(tmp_path / "a.arrow", "r+b") as file:
        file.seek(content.index(images.tobytes()))
        file.write(b"\xfe")
    assert shard.images[0, 0, 0, 0] == 0xFE


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.arrow"))


def _refusal(folder: Path, verify: Literal["size", "hash"] = "hash") -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(folder, verify=verify)
    return str(caught.value)


def test_flipped_bits_in_a_shard_are_found(folder: Path) -> None:
    chance = random.Random(0)
    for path in _shards(folder):
        content = path.read_bytes()
        for _ in range(50):
            damaged = bytearray(content)
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            assert str(path) in _refusal(folder)
        path.write_bytes(content)
    open_dataset(folder)


def test_without_hashes_a_damaged_shard_never_crashes(folder: Path) -> None:
    chance = random.Random(1)
    path = _shards(folder)[-1]
    content = path.read_bytes()
    opened = refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 8))):
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            train = open_dataset(folder, verify="size").train
            everything = np.arange(len(train))
            train.gather(everything)
            train.keys(everything)
        except UserError:
            refused += 1
        else:
            opened += 1
    # Pixels are not looked at without hashes, labels and structure are.
    assert opened > 40
    assert refused > 40


def test_truncated_and_grown_shards_are_found(folder: Path) -> None:
    for path in _shards(folder):
        content = path.read_bytes()
        for length in (0, 1, 8, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            assert str(path) in _refusal(folder, "size")
        path.write_bytes(content + b"\0")
        assert str(path) in _refusal(folder, "size")
        path.write_bytes(content)


def test_missing_files_are_named_with_the_command_that_makes_them(folder: Path) -> None:
    for path in [*_shards(folder), folder / "manifest.json"]:
        moved = path.rename(folder.parent / "away")
        assert str(path) in _refusal(folder)
        assert "`dvc repro shard`" in _refusal(folder)
        path.mkdir()
        assert str(path) in _refusal(folder)
        path.rmdir()
        moved.rename(path)
    assert "`dvc repro shard`" in _refusal(folder.parent / "nowhere")
    assert str(_shards(folder)[0]) in _refusal(_shards(folder)[0])


def test_shards_that_changed_places_are_found(folder: Path) -> None:
    manifest = read_manifest(folder)
    (split,) = (split for split in manifest.splits.values() if len(split.shards) > 2)
    first, second = (folder / shard.file for shard in split.shards[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert str(first) in _refusal(folder)


def test_flipped_bits_and_cuts_in_the_manifest_are_found(folder: Path) -> None:
    path = folder / "manifest.json"
    content = path.read_bytes()
    for offset in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << (offset % 8)
        path.write_bytes(damaged)
        assert str(path) in _refusal(folder), offset
    for length in range(0, len(content), 31):
        path.write_bytes(content[:length])
        assert str(path) in _refusal(folder), length


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "{}", "1e999", "[" * 100_000, '{"checksum": 1}', "\x00", "NaN"]
)
def test_any_other_file_in_the_manifests_place_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    assert str(folder / "manifest.json") in _refusal(folder)


def _set_file(content: dict) -> None:
    content["splits"]["train"]["shards"][0]["file"] = "../../etc/passwd"


def _set_rows(content: dict) -> None:
    content["splits"]["train"]["shards"][0]["rows"] = 10**9


def _set_type(content: dict) -> None:
    content["rows"] = "40"


def _set_counts(content: dict) -> None:
    content["splits"]["train"]["class_counts"] = []


def _set_digest(content: dict) -> None:
    content["digest"] = "0" * 64


def _set_resolution(content: dict) -> None:
    content["resolution"] = 8


def _drop_split(content: dict) -> None:
    del content["splits"]["heldout"]


def _set_version(content: dict) -> None:
    content["format_version"] = 2


@pytest.mark.parametrize(
    "change",
    [_set_file, _set_rows, _set_type, _set_counts, _set_digest, _set_resolution, _drop_split,
     _set_version],
)  # fmt: skip
def test_inconsistent_manifests_are_refused(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    del content["checksum"]
    content["checksum"] = digest_json(content)
    path.write_text(json.dumps(content, indent=2) + "\n")
    assert str(path) in _refusal(folder)


def test_the_manifest_survives_a_rewrite(folder: Path) -> None:
    assert read_manifest(folder) == open_dataset(folder).manifest
    assert read_manifest(folder).class_names == ("class 0", "class 1")

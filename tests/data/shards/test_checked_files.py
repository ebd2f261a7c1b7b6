"""Files are hashed again exactly when they may have changed."""

import os
import time
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards import verify
from pipeline.data.shards.manifest import ShardEntry, read_manifest
from pipeline.data.shards.reader import open_dataset
from pipeline.data.shards.verify import CheckedFiles
from pipeline.storage.digest import sha256_file
from tests.support.shard_folder import write_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_folder(tmp_path / "shards", train=[5, 5, 2])
    monkeypatch.setattr(verify, "_SETTLED_NS", 20 * 10**6)
    time.sleep(0.05)
    return tmp_path / "shards"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def record(path: Path) -> str:
        names.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(verify, "sha256_file", record)
    return names


def _entries(folder: Path) -> tuple[ShardEntry, ...]:
    return read_manifest(folder).splits["train"].shards


def test_a_file_is_hashed_once_a_change(folder: Path, hashed: list[str]) -> None:
    names = [entry.file for entry in _entries(folder)]
    open_dataset(folder)
    assert sorted(hashed) == names
    for _ in range(3):
        open_dataset(folder)
    assert sorted(hashed) == names
    os.utime(folder / names[1])
    open_dataset(folder)
    assert hashed[3:] == [names[1]]
    assert (folder.parent / "shards.checked.json").exists()
    assert {path.name for path in folder.iterdir()} == {*names, "manifest.json"}


def test_damage_after_the_first_check_is_found(folder: Path, hashed: list[str]) -> None:
    open_dataset(folder)
    path = folder / "train-00001.arrow"
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(stat.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a bad copy may pretend
    for _ in range(2):
        with pytest.raises(UserError, match=r"train-00001.arrow is damaged: its SHA-256"):
            open_dataset(folder)


def test_recently_changed_files_are_not_recorded(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_SETTLED_NS", 10**12)
    open_dataset(folder)
    open_dataset(folder)
    assert len(hashed) == 6


def test_another_file_under_the_same_name_is_hashed(folder: Path, hashed: list[str]) -> None:
    open_dataset(folder)
    os.replace(folder / "train-00001.arrow", folder / "train-00000.arrow")
    with pytest.raises(UserError, match=r"train-0000\d.arrow is "):
        open_dataset(folder)


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b'{"train-00000.arrow": 3}', b"\xff"])
def test_a_damaged_record_is_ignored(folder: Path, hashed: list[str], content: bytes) -> None:
    (folder.parent / "shards.checked.json").write_bytes(content)
    open_dataset(folder)
    assert len(hashed) == 3


def test_sizes_are_compared_without_hashes(folder: Path, hashed: list[str]) -> None:
    CheckedFiles(folder).check(_entries(folder), hashes=False)
    assert hashed == []
    path = folder / "train-00002.arrow"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"train-00002.arrow is damaged: it has \d+ bytes, not \d+"):
        CheckedFiles(folder).check(_entries(folder), hashes=False)


def test_a_read_only_folder_is_checked(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(verify, "write_json", refuse)
    open_dataset(folder)
    open_dataset(folder)
    assert len(hashed) == 6

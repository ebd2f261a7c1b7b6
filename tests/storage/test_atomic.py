"""Files appear whole: an error leaves what was there before."""

import json
from pathlib import Path

import pytest

from pipeline.storage.atomic import atomic_write, write_bytes, write_json, write_text


def test_writes_the_bytes_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "a.bin", b"\x00\r\n\xff")
    write_text(tmp_path / "new" / "b.txt", "line\r\n\u00e9")
    write_json(tmp_path / "new" / "c.json", {"b": [1, None], "a": "\u00e9"})
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "new" / "b.txt").read_bytes() == b"line\r\n\xc3\xa9"
    assert json.loads((tmp_path / "new" / "c.json").read_bytes()) == {"b": [1, None], "a": "\u00e9"}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.bin", "b.txt", "c.json"]


def test_an_error_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with atomic_write(path) as tmp:
            tmp.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_stands_until_the_new_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_write(path) as tmp:
        tmp.write_text("new")
        assert tmp.parent == path.parent
        assert tmp.suffix == ".tmp"
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_killed_writers_leftover_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.txt.tmp").write_text("a much longer leftover")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "a.txt.tmp").exists()


def test_json_without_a_value_for_nan_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []

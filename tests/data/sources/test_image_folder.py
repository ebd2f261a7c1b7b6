"""Folders of images: what is read, in which order, and how anything else is refused."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.sources.image_folder import open_image_folder
from pipeline.data.sources.select import open_source
from pipeline.data.sources.source import Unreadable

ODD_NAMES = ("<script>alert(1)<script>", "a..\\b", "\U0001f431", "a b", "x" * 250)


def _save(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(path)
    return path


def test_classes_and_keys_in_the_order_of_their_names(tmp_path: Path) -> None:
    _save(tmp_path / "dog" / "b.png", 1)
    _save(tmp_path / "dog" / "a" / "z.JPG", 2)
    _save(tmp_path / "Cat" / "10.png", 3)
    _save(tmp_path / "Cat" / "9.webp", 4)
    _save(tmp_path / "\u00e9lan" / "1.bmp", 5)
    source = open_source("folder", str(tmp_path))
    assert source.class_names == ("Cat", "dog", "\u00e9lan")
    assert source.name == tmp_path.name
    assert (source.note, source.warnings) == ("", ())
    keys = ["Cat/10.png", "Cat/9.webp", "dog/a/z.JPG", "dog/b.png", "\u00e9lan/1.bmp"]
    assert source.items.keys == keys
    assert source.items.labels.tolist() == [0, 0, 1, 1, 2]
    assert list(source.read(source.items)) == [(tmp_path / key).read_bytes() for key in keys]


def test_a_changed_file_is_another_item(tmp_path: Path) -> None:
    path = _save(tmp_path / "a" / "1.png")
    before = open_image_folder(tmp_path).items.where.tolist()
    os.utime(path, ns=(1, 1))
    assert open_image_folder(tmp_path).items.where.tolist() != before


def test_files_that_are_no_images_are_items_that_cannot_be_read(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png")
    _save(tmp_path / "preview.png")
    for name in ("a/.DS_Store", "a/._1.png", "a/Thumbs.db", "a/notes.txt", "a/README", "top.csv"):
        (tmp_path / name).write_text("not an image")
    (tmp_path / ".git").mkdir()
    source = open_image_folder(tmp_path)
    assert source.class_names == ("a",)
    assert source.items.keys == ["a/1.png", "a/README", "a/notes.txt"]
    _, readme, notes = source.read(source.items)
    assert readme == Unreadable("a name without suffix is not an image's")
    assert notes == Unreadable(".txt is not an image's")
    assert source.note == "passed over: 1 images outside of a class, hidden folders (.git)"


def test_deleted_files_are_unreadable_items(tmp_path: Path) -> None:
    path = _save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "nothing")
    source = open_image_folder(tmp_path)
    path.unlink()
    assert (
        list(source.read(source.items))
        == [Unreadable("cannot be read (No such file or directory)")] * 2
    )


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    _save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    _save(tmp_path / "data" / "a" / "1.png")
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    source = open_image_folder(tmp_path / "data")
    assert source.class_names == ("a", "b")
    assert "b/1.png" in source.items.keys
    assert len(source.items) <= 4


def test_paths_without_classes_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    flat = _save(tmp_path / "flat" / "1.png").parent
    _save(flat / "2.png")
    text = tmp_path / "file.txt"
    text.touch()
    for path, found in [
        (tmp_path / "nowhere", "does not exist"),
        (text, "is a file"),
        (empty, "has no sub-folder and no image"),
        (
            flat,
            "has 2 images directly in it and no sub-folder; where it is the folder of one class",
        ),
    ]:
        with pytest.raises(UserError, match=found) as caught:
            open_image_folder(path)
        assert str(caught.value).startswith(f"data.path: {path} ")
        assert "expected one sub-folder a class" in str(caught.value)
    with pytest.raises(UserError, match=r"data\.path is missing"):
        open_source("folder")


@pytest.mark.parametrize("splits", [["train"], ["train", "val"], ["images"]])
def test_a_path_above_the_folder_of_classes_is_refused(tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        for name in ("cat", "dog", "eel", "fox"):
            _save(tmp_path / split / name / "1.png")
    with pytest.raises(UserError) as caught:
        open_image_folder(tmp_path)
    assert (
        f"{tmp_path} is one level above the classes: {tmp_path}/{splits[0]} holds no image itself "
        "but 4 folders of images (cat, dog, eel, ...)"
    ) in str(caught.value)
    assert str(caught.value).endswith(f"perhaps {tmp_path}/{splits[0]}")


def test_classes_that_may_be_one_level_too_high_are_warned_about(tmp_path: Path) -> None:
    for kind, names in (("animals", "cat dog"), ("vehicles", "bus car")):
        for name in names.split():
            _save(tmp_path / kind / name / "1.png")
    (warning,) = open_image_folder(tmp_path).warnings
    assert "such as animals in cat, dog" in warning


def test_one_folder_in_each_class_is_accepted(tmp_path: Path) -> None:
    for name in ("n01443537", "n01629819"):
        _save(tmp_path / name / "images" / "1.png")
    source = open_image_folder(tmp_path)
    assert source.class_names == ("n01443537", "n01629819")
    assert source.warnings == ()


def test_classes_without_images_are_refused_by_name(tmp_path: Path) -> None:
    _save(tmp_path / "full" / "1.png")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match="hollow has no images"):
        open_image_folder(tmp_path)
    (tmp_path / "hollow" / "labels.csv").touch()
    with pytest.raises(UserError, match="hollow has no images"):
        open_image_folder(tmp_path)


def test_unusual_class_names_are_kept(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        _save(tmp_path / name / "1.png")
    source = open_image_folder(tmp_path)
    assert source.class_names == tuple(sorted(ODD_NAMES))
    assert all(isinstance(raw, bytes) for raw in source.read(source.items))


@pytest.mark.parametrize("name", [b"/\xff.png", b"/\xff"])
def test_names_that_are_not_utf8_are_refused(tmp_path: Path, name: bytes) -> None:
    _save(tmp_path / "a" / "1.png")
    os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path / "a") + name)
    with pytest.raises(UserError, match="not UTF-8"):
        open_image_folder(tmp_path)


def test_a_folder_that_must_not_be_read_is_named(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png")
    (tmp_path / "a").chmod(0)
    try:
        if os.access(tmp_path / "a", os.R_OK):
            pytest.skip("nothing is forbidden to this user")
        with pytest.raises(UserError, match=r"a cannot be read \(Permission denied\)"):
            open_image_folder(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)

"""Folders of images: what is read, in which order, and how anything else is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources.image_folder import open_image_folder
from pipeline.data.sources.select import open_source
from pipeline.errors import UserError


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
    source = open_source("folder", str(tmp_path), 4, 1)
    assert source.class_names == ("Cat", "dog", "\u00e9lan")
    assert source.name == tmp_path.name
    assert source.note == ""
    samples = list(source.samples())
    assert [(key, label) for key, _, label in samples] == [
        ("Cat/10.png", 0), ("Cat/9.webp", 0), ("dog/a/z.JPG", 1), ("dog/b.png", 1),
        ("\u00e9lan/1.bmp", 2),
    ]  # fmt: skip
    values = [int(image[0, 0, 0]) for _, image, _ in samples]
    assert [values[0], values[3], values[4]] == [3, 1, 5]
    assert all(image.shape == (4, 4, 1) for _, image, _ in samples)


def test_grey_images_are_repeated_for_three_channels(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png", 9)
    ((_, image, _),) = open_image_folder(tmp_path, 4, 3).samples()
    assert np.array_equal(image, np.full((4, 4, 3), 9))


def test_samples_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png")
    later = tmp_path / "a" / "2.png"
    later.write_bytes(b"")
    samples = open_image_folder(tmp_path, 4, 1).samples()
    assert next(samples)[0] == "a/1.png"
    _save(later)
    assert next(samples)[0] == "a/2.png"


def test_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png")
    _save(tmp_path / "preview.png")
    for name in ("a/.DS_Store", "a/._1.png", "a/notes.txt", "a/more.TXT", "a/README", "top.csv"):
        (tmp_path / name).write_text("not an image")
    (tmp_path / ".git").mkdir()
    source = open_image_folder(tmp_path, 4, 1)
    assert source.class_names == ("a",)
    assert [key for key, _, _ in source.samples()] == ["a/1.png"]
    assert source.note == (
        "passed over: 2 .txt files, 1 images outside of a class, 1 suffixless files"
    )


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
        (empty, "has no sub-folder"),
        (flat, "has 2 images directly in it"),
    ]:
        with pytest.raises(UserError, match=found) as caught:
            open_image_folder(path, 4, 1)
        assert str(caught.value).startswith(f"data.path: {path} ")
        assert "expected one sub-folder a class" in str(caught.value)
    with pytest.raises(UserError, match=r"data\.path is missing"):
        open_source("folder", None, 4, 1)


def test_classes_without_images_are_refused_by_name(tmp_path: Path) -> None:
    _save(tmp_path / "full" / "1.png")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "labels.csv").touch()
    with pytest.raises(UserError, match="hollow has no images"):
        open_image_folder(tmp_path, 4, 1)


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "a" / "1.png")
    os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path / "a") + b"/\xff.png")
    with pytest.raises(UserError, match="not UTF-8"):
        open_image_folder(tmp_path, 4, 1)


@pytest.mark.parametrize("damage", ["empty", "truncated", "not an image", "32 bits"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif"])
def test_damaged_files_are_named_and_counted(tmp_path: Path, damage: str, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "a").mkdir()
    for i in range(8):
        Image.fromarray(noise).save(tmp_path / "a" / f"{i}{suffix}")
    for i in (2, 5):
        path = tmp_path / "a" / f"{i}{suffix}"
        content = {
            "empty": b"",
            "truncated": path.read_bytes()[: path.stat().st_size * 2 // 3],
            "not an image": b"<!DOCTYPE html>" * 50,
        }.get(damage)
        if content is None:
            Image.new("F", (4, 4)).save(path, "TIFF")
        else:
            path.write_bytes(content)
    source = open_image_folder(tmp_path, 16, 3)
    read = []
    with pytest.raises(UserError) as caught:
        read.extend(source.samples())
    message = str(caught.value)
    assert message.startswith("2 of 8 images cannot be decoded; repair or remove ")
    assert str(tmp_path / "a" / f"2{suffix}") in message
    assert str(tmp_path / "a" / f"5{suffix}") in message


def test_many_damaged_files_are_counted_and_some_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(30):
        (tmp_path / "a" / f"{i:02}.png").touch()
    with pytest.raises(UserError) as caught:
        next(open_image_folder(tmp_path, 16, 3).samples())
    assert "30 of 30" in str(caught.value)
    assert "04.png" in str(caught.value)
    assert "05.png" not in str(caught.value)

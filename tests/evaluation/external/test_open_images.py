"""The same images come out of every layout, and a place without images is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.evaluation.external.labels import number_classes
from pipeline.evaluation.external.loading import LoadedImages, load_images, open_images
from tests.support.image_containers import (
    WRITERS,
    write_by_class,
    write_fixed,
    write_hub,
    write_npy,
    write_npz,
)
from tests.support.s3_server import FaultyS3, serve_s3
from tests.support.subjects import write_stripes

NAMES = ("left", "middle", "right")


@pytest.fixture(scope="module")
def s3() -> Iterator[FaultyS3]:
    with serve_s3() as layer:
        yield layer


def _images(channels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (20, 16, 16, channels), np.uint8), np.arange(20) % 3


def _load(path: Path | str, tmp_path: Path) -> LoadedImages:
    images = open_images(str(path), "--images", tmp_path / "cache")
    return load_images(
        images, Preprocessing(resolution=16, channels=3), False, tmp_path / "scratch"
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", WRITERS)
def test_every_layout_gives_the_same_pixels(tmp_path, write, channels):
    images, labels = _images(channels)
    found = _load(write(tmp_path / "theirs", images, labels, NAMES), tmp_path)
    reference = _load(write_npz(tmp_path / "reference", images, labels, NAMES), tmp_path)
    numbers = number_classes(set(found.labels), NAMES).numbers
    described = found.describe()
    assert described["count"] == 20
    assert described["digest"] == reference.describe()["digest"]
    assert described["modes_found"] == {"L" if channels == 1 else "RGB": 20}
    by_pixels = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    shown = found.pixels[..., :channels]
    assert {image.tobytes() for image in shown} == set(by_pixels)
    if numbers is not None:
        classes = [numbers[label] for label in found.labels]
        assert [by_pixels[image.tobytes()] for image in shown] == classes
    ours, theirs = (each.pixels[each.order] for each in (found, reference))
    np.testing.assert_array_equal(ours, theirs)
    assert (numbers is None) == (write.__name__ in ("write_flat", "write_npy"))


def test_our_own_shards_give_their_training_images(tmp_path):
    manifest = write_stripes(tmp_path / "shards")
    images = open_images(str(tmp_path / "shards"), "--images", tmp_path)
    assert images.class_names == manifest.class_names
    loaded = load_images(
        images, Preprocessing(resolution=32, channels=1), False, tmp_path / "scratch"
    )
    assert len(loaded.keys) == manifest.splits["train"].rows
    assert set(loaded.labels) == {"left", "middle", "right"}


@pytest.mark.parametrize("write", [write_by_class, write_npz, write_hub])
def test_images_in_s3_are_those_on_disk(tmp_path, s3, write):
    images, labels = _images(3)
    place = write(tmp_path / "theirs", images, labels, NAMES)
    bucket = s3.new_bucket()
    for file in [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]:
        name = file.relative_to(tmp_path).as_posix()
        s3.client.put_object(Bucket=bucket[5:], Key=name, Body=file.read_bytes())
    here, there = _load(place, tmp_path), _load(f"{bucket}/{place.name}", tmp_path)
    assert len(here.keys) == len(there.keys) == 20
    assert there.describe()["digest"] == here.describe()["digest"]
    assert there.labels == here.labels
    with pytest.raises(UserError, match=rf"--images: {bucket}/no holds no objects; expected"):
        open_images(f"{bucket}/no", "--images", tmp_path / "scratch")


def test_the_digest_is_of_the_pixels_alone(tmp_path):
    images, labels = _images(3)
    digests = set()
    for name, part in (("a", images), ("b", images[::-1]), ("c", images[:-1])):
        found = _load(write_npy(tmp_path / name, part, labels[: len(part)], NAMES), tmp_path)
        digests.add(found.describe()["digest"])
    assert len(digests) == 2


def _array(path, array):
    np.savez(path / "x.npz", array)
    return path / "x.npz"


def _parquet(path, **columns):
    pq.write_table(pa.table(columns), path / "x.parquet")
    return path / "x.parquet"


def _damaged(path, name):
    (path / name).write_bytes(b"PK\x03\x04PAR1 nothing of the kind")
    return path / name


def _cut(path, name):
    images, labels = _images(3)
    whole = write_npz(path / "x", images, labels, NAMES) if name == "x.npz" else None
    whole = whole or write_npy(path / "x", images, labels, NAMES)
    whole.write_bytes(whole.read_bytes()[:5000])
    return whole


def _stream(path):
    images, labels = _images(3)
    whole = write_fixed(path / "x", images, labels, NAMES)
    whole.write_bytes(whole.read_bytes()[:3000])
    return whole


def _hidden(path):
    (path / ".DS_Store").touch()
    return path


def _texts(path):
    (path / "notes.txt").touch()
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", r"--images: .*nowhere does not exist; expected a folder of im"),
        (_hidden, r"holds no files; expected a folder of images, Parquet or Arrow files, or an"),
        (_texts, r"holds no images but notes.txt; expected"),
        (lambda p: _array(p, np.zeros((5, 3, 8, 8), np.uint8)), r"move the channels to the end"),
        (lambda p: _array(p, np.zeros((5, 8, 8, 3))), r"arr_0 is float64 .* expected uint8 images"),
        (lambda p: _array(p, np.array([{}], object)), r"arr_0 is object"),
        (
            lambda p: _array(p, np.asfortranarray(np.zeros((5, 8, 8, 3), np.uint8))),
            r"Fortran's order; save np.ascontiguousarray",
        ),
        (lambda p: _damaged(p, "x.npz"), r"x.npz is no whole .npz file of plain numbers"),
        (lambda p: _cut(p, "x.npz"), r"x.npz is no whole .npz file of plain numbers"),
        (lambda p: _cut(p, "x.npy"), r"x.npy is no whole .npy file .* ends early"),
        (lambda p: _damaged(p, "x.parquet"), r"x.parquet is no whole Parquet or Arrow file"),
        (lambda p: _damaged(p, "x.arrow"), r"x.arrow is no whole Parquet or Arrow file"),
        (_stream, r"x.arrow is no whole Parquet or Arrow file"),
        (lambda p: _parquet(p, label=[1, 2]), r"has label: int64; none may hold images"),
        (lambda p: _parquet(p, a=[b"1"], b=[b"2"]), r"a: binary, b: binary; several may hold"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, make, message):
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(UserError, match=message):
        _load(make(place), tmp_path)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", np.zeros((5, 8, 8, 3), np.uint8), np.arange(4))
    with pytest.raises(UserError, match=r"arr_1 is int64 \[4\]; expected an integer label for ea"):
        open_images(str(tmp_path / "x.npz"), "--images", tmp_path)


def test_an_archive_larger_than_what_is_read_at_a_time_is_streamed(tmp_path):
    images = np.zeros((3000, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(3000) % 251
    np.savez_compressed(tmp_path / "x.npz", images)
    found = open_images(str(tmp_path / "x.npz"), "--images", tmp_path)
    first = next(iter(found.read()))
    assert first.key == "000000"
    assert [image.raw[0, 0, 0] for image in found.read()] == (np.arange(3000) % 251).tolist()

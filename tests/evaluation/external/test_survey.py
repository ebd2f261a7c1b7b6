"""What is found out of images before they are scored: sizes, modes, and what cannot be used."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.evaluation.external.image_set import ImageSet, preprocessing_of
from pipeline.evaluation.external.open_origin import open_origin
from pipeline.evaluation.external.survey import Survey, one_size, survey
from tests.evaluation.subjects import write_stripes
from tests.support.image_containers import png


def _noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
    return image.convert(mode)


def _write(folder: Path, *images: Image.Image, suffix: str = "png") -> Path:
    folder.mkdir(exist_ok=True)
    start = len(list(folder.iterdir()))
    for number, image in enumerate(images, start):
        image.save(folder / f"{number:03}.{suffix}")
    return folder


def _survey(folder: Path) -> Survey:
    return survey(open_origin(str(folder), "--images", folder.parent / "cache"))


def test_sizes_and_modes_are_counted(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8, mode) for mode in ("RGB", "RGB", "L", "RGBA")])
    _write(folder, _noise(8, 8, "P"), suffix="gif")
    _write(folder, _noise(8, 8, "CMYK"), suffix="jpg")
    found = _survey(folder)
    assert found.sizes == {(8, 8): 6}
    assert found.modes == {"RGB": 2, "L": 1, "RGBA": 1, "P": 1, "CMYK": 1}


def test_a_photograph_on_its_side_counts_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    _noise(12, 8).save(content, "JPEG", exif=exif)
    folder = _write(tmp_path / "x", _noise(8, 12))
    (folder / "a.jpg").write_bytes(content.getvalue())
    assert _survey(folder).sizes == {(8, 12): 2}


def test_every_mode_becomes_the_asked_one_as_in_the_ingest(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    folder = _write(tmp_path / "x", _noise(8, 8, "L"), clear, _noise(8, 8))
    origin = open_origin(str(folder), "--images", tmp_path)
    images = ImageSet(
        origin, survey(origin), Preprocessing(resolution=8, channels=3, background="black")
    )
    (batch,) = images.batches()
    grey, transparent, colour = batch.images.numpy()
    assert (grey == grey[:1]).all()
    assert (transparent == 0).all()
    np.testing.assert_array_equal(colour, np.asarray(_noise(8, 8)).transpose(2, 0, 1))
    assert images.describe()["modes_found"] == {"L": 1, "RGBA": 1, "RGB": 1}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_images_of_the_asked_size_stay_as_they_are(tmp_path, suffix):
    folder = _write(tmp_path / "x", *[_noise(32, 32, seed=seed) for seed in (1, 2)], suffix=suffix)
    origin = open_origin(str(folder), "--images", tmp_path)
    images = ImageSet(origin, survey(origin), Preprocessing(resolution=32, channels=3))
    (batch,) = images.batches()
    with Image.open(folder / f"000.{suffix}") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    # decoders of JPEG may differ by a level or two
    assert np.abs(batch.images[0].numpy().astype(int) - expected).max() <= (suffix == "jpg") * 4
    assert images.describe()["preparation"] == "none but the mode's"
    assert images.describe()["sizes_found"] is None


def test_mixed_sizes_are_counted_and_can_be_resized(tmp_path):
    folder = _write(tmp_path / "x", _noise(8, 8), _noise(8, 8), _noise(16, 12))
    found = _survey(folder)
    with pytest.raises(
        UserError, match=r"images of 2 sizes \(2 of 8x8, 1 of 16x12\) .*; --resize 8 makes them on"
    ):
        one_size({"theirs": found}, None, None)
    with pytest.raises(UserError, match=r"--resize 32 makes them one"):
        one_size({"theirs": found}, None, 32)
    assert one_size({"theirs": found}, 10, None) == 10
    origin = open_origin(str(folder), "--images", tmp_path)
    images = ImageSet(origin, found, Preprocessing(resolution=10, channels=3))
    (batch,) = images.batches()
    assert batch.images.shape == (3, 3, 10, 10)
    assert images.describe()["sizes_found"] == {"8x8": 2, "16x12": 1}
    assert images.describe()["preparation"]["resize"].startswith("bicubic, antialiased")


def test_two_sets_need_one_size(tmp_path):
    small, large = (
        _survey(_write(tmp_path / str(size), _noise(size, size), _noise(size, size)))
        for size in (8, 16)
    )
    assert one_size({"a": small, "b": small}, None, None) == 8
    with pytest.raises(UserError, match=r"a and b: images of 2 sizes .*--resize 8 makes"):
        one_size({"a": small, "b": large}, None, None)


def test_images_of_another_size_than_the_data_sets_are_told(tmp_path):
    found = _survey(_write(tmp_path / "x", _noise(16, 16), _noise(16, 16)))
    assert one_size({"x": found}, None, 16) == 16
    with pytest.raises(
        UserError, match=r"all images are 16x16, the data set's 32x32; .*--resize 3"
    ):
        one_size({"x": found}, None, 32)
    with pytest.raises(UserError, match=r"--resize 64 differs from the data set's 32x32"):
        one_size({"x": found}, 64, 32)
    assert one_size({"x": found}, 32, 32) == 32


def test_images_that_are_no_squares_are_told(tmp_path):
    found = _survey(_write(tmp_path / "x", _noise(16, 12), _noise(16, 12)))
    with pytest.raises(UserError, match=r"all images are 16x12, not squares; --resize 12 takes"):
        one_size({"x": found}, None, None)


@pytest.mark.parametrize(("count", "text"), [(1, "1 image; metrics need"), (0, None)])
def test_too_few_images_are_told(tmp_path, count, text):
    folder = _write(tmp_path / "x", *[_noise(8, 8)] * count)
    with pytest.raises(UserError, match=text or "holds no files"):
        _survey(folder)


def test_images_that_cannot_be_read_are_listed(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8)] * 5)
    (folder / "b.png").write_bytes(b"no image")
    (folder / "c.png").touch()
    with pytest.raises(
        UserError,
        match=r"2 of 7 images cannot be used, more than 1%; .*b\.png \(no known image format; it "
        r"begins with b'no image'\); c\.png \(an empty file\)",
    ):
        _survey(folder)


def test_a_hundredth_of_them_is_passed_over_and_counted(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8, seed=seed) for seed in range(199)])
    (folder / "bad.png").write_bytes(b"no image")
    whole = png(np.asarray(_noise(8, 8)))
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])  # only decoding finds it out
    origin = open_origin(str(folder), "--images", tmp_path)
    images = ImageSet(origin, survey(origin), Preprocessing(resolution=8, channels=3))
    assert sum(len(batch.keys) for batch in images.batches()) == 199
    assert [rejected.key for rejected in images.rejected] == ["bad.png", "cut.png"]
    assert (images.describe()["count"], images.describe()["rejected"]) == (199, 2)
    (folder / "cut2.png").write_bytes(whole[: len(whole) // 2])
    origin = open_origin(str(folder), "--images", tmp_path)
    images = ImageSet(origin, survey(origin), Preprocessing(resolution=8, channels=3))
    with pytest.raises(UserError, match=r"3 of 202 images cannot be used"):
        list(images.batches())


def test_the_recipe_is_the_data_sets(tmp_path):
    manifest = write_stripes(tmp_path / "plain")
    assert preprocessing_of(manifest, 32) == Preprocessing(resolution=32, channels=1)
    for changes in ({"resize": "lanczos"}, {"crop": "long-edge", "background": "#ff0000"}):
        preprocessing = Preprocessing(resolution=32, channels=1, **changes)
        said = {**manifest.preprocessing, **preprocessing.describe()}
        object.__setattr__(manifest, "preprocessing", said)
        assert preprocessing_of(manifest, 32) == preprocessing

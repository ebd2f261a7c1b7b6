"""Loading of external images: sizes, modes, and images that cannot be used."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.evaluation.external.loading import (
    LoadedImages,
    check_sizes,
    load_images,
    open_images,
    preprocessing_of,
)
from tests.support.image_containers import png
from tests.support.subjects import write_stripes


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


def _load(folder: Path, size: int = 8, resize: bool = False, **changes: Any) -> LoadedImages:
    images = open_images(str(folder), "--images", folder.parent / "cache")
    preprocessing = Preprocessing(**{"resolution": size, "channels": 3, **changes})
    return load_images(images, preprocessing, resize, folder.parent / "scratch")


def test_sizes_and_modes_are_counted(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8, mode) for mode in ("RGB", "RGB", "L", "RGBA")])
    _write(folder, _noise(8, 8, "P"), suffix="gif")
    _write(folder, _noise(8, 8, "CMYK"), suffix="jpg")
    found = _load(folder)
    assert found.sizes == {(8, 8): 6}
    assert found.modes == {"RGB": 2, "L": 1, "RGBA": 1, "P": 1, "CMYK": 1}


def test_a_photograph_on_its_side_counts_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    _noise(12, 8).save(content, "JPEG", exif=exif)
    folder = _write(tmp_path / "x", _noise(8, 12))
    (folder / "a.jpg").write_bytes(content.getvalue())
    assert _load(folder).sizes == {(8, 12): 2}


def test_every_mode_becomes_the_asked_one_as_in_the_ingest(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    folder = _write(tmp_path / "x", _noise(8, 8, "L"), clear, _noise(8, 8))
    found = _load(folder, background="black")
    grey, transparent, colour = found.pixels
    assert (grey == grey[..., :1]).all()
    assert (transparent == 0).all()
    np.testing.assert_array_equal(colour, np.asarray(_noise(8, 8)))
    assert found.describe()["modes_found"] == {"L": 1, "RGBA": 1, "RGB": 1}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_images_of_the_asked_size_stay_as_they_are(tmp_path, suffix):
    folder = _write(tmp_path / "x", *[_noise(32, 32, seed=seed) for seed in (1, 2)], suffix=suffix)
    found = _load(folder, 32)
    with Image.open(folder / f"000.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    # decoders of JPEG may differ by a level or two
    assert np.abs(found.pixels[0].astype(int) - expected).max() <= (suffix == "jpg") * 4
    assert found.describe()["preparation"] == "none but the mode's"
    assert found.describe()["sizes_found"] is None


def test_mixed_sizes_are_counted_and_can_be_resized(tmp_path):
    folder = _write(tmp_path / "x", _noise(8, 8), _noise(8, 8), _noise(16, 12))
    found = _load(folder)
    with pytest.raises(
        UserError, match=r"images of 2 sizes \(2 of 8x8, 1 of 16x12\) .*; --resize 8 makes them on"
    ):
        check_sizes([found], None)
    with pytest.raises(UserError, match=r"--resize 32 makes them one"):
        check_sizes([found], 32)
    resized = _load(folder, 10, resize=True)
    assert resized.pixels.shape == (3, 10, 10, 3)
    assert resized.describe()["sizes_found"] == {"8x8": 2, "16x12": 1}
    assert resized.describe()["preparation"]["resize"].startswith("bicubic, antialiased")


def test_two_sets_need_one_size(tmp_path):
    small, large = (
        _load(_write(tmp_path / str(size), _noise(size, size), _noise(size, size)))
        for size in (8, 16)
    )
    check_sizes([small, small], None)
    with pytest.raises(UserError, match=r"8 and .*16: images of 2 sizes .*--resize 8 makes"):
        check_sizes([small, large], None)


def test_images_of_another_size_than_the_data_sets_are_refused(tmp_path):
    found = _load(_write(tmp_path / "x", _noise(16, 16), _noise(16, 16)))
    check_sizes([found], 16)
    with pytest.raises(
        UserError, match=r"all images are 16x16, the data set's 32x32; .*--resize 3"
    ):
        check_sizes([found], 32)


def test_images_that_are_no_squares_are_refused(tmp_path):
    found = _load(_write(tmp_path / "x", _noise(16, 12), _noise(16, 12)))
    with pytest.raises(UserError, match=r"all images are 16x12, not squares; --resize 12 takes"):
        check_sizes([found], None)


@pytest.mark.parametrize(("count", "text"), [(1, "1 image; metrics need"), (0, None)])
def test_too_few_images_are_refused(tmp_path, count, text):
    folder = _write(tmp_path / "x", *[_noise(8, 8)] * count)
    with pytest.raises(UserError, match=text or "holds no files"):
        _load(folder)


def test_images_that_cannot_be_read_are_listed(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8)] * 5)
    (folder / "b.png").write_bytes(b"no image")
    (folder / "c.png").touch()
    with pytest.raises(
        UserError,
        match=r"2 of 7 images cannot be used, more than 1%; .*b\.png \(no known image format; it "
        r"begins with b'no image'\); c\.png \(an empty file\)",
    ):
        _load(folder)


def test_a_hundredth_of_them_is_passed_over_and_counted(tmp_path):
    folder = _write(tmp_path / "x", *[_noise(8, 8, seed=seed) for seed in range(199)])
    (folder / "bad.png").write_bytes(b"no image")
    whole = png(np.asarray(_noise(8, 8)))
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])  # only decoding finds it out
    found = _load(folder)
    assert len(found.pixels) == len(found.keys) == 199
    assert [rejected.key for rejected in found.rejected] == ["bad.png", "cut.png"]
    assert (found.describe()["count"], found.describe()["rejected"]) == (199, 2)
    (folder / "cut2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"3 of 202 images cannot be used"):
        _load(folder)


def test_the_preprocessing_is_the_data_sets(tmp_path):
    manifest = write_stripes(tmp_path / "plain")
    assert preprocessing_of(manifest, 32) == Preprocessing(resolution=32, channels=1)
    for changes in ({"resize": "lanczos"}, {"crop": "long-edge", "background": "#ff0000"}):
        preprocessing = Preprocessing(resolution=32, channels=1, **changes)
        said = {**manifest.preprocessing, **preprocessing.describe()}
        object.__setattr__(manifest, "preprocessing", said)
        assert preprocessing_of(manifest, 32) == preprocessing

"""Every pixel format gives the colours that a viewer shows."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.ingest.preprocessing import Preprocessing, to_square

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def _square(image: Image.Image, resolution: int, channels: int) -> np.ndarray:
    return to_square(image, Preprocessing(resolution=resolution, channels=channels))


def _solid(mode: str, color: object) -> Image.Image:
    return Image.new(mode, (8, 8), color)  # type: ignore[arg-type]


def _sixteen_bits(value: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, np.uint16))


def _palette(**options: object) -> Image.Image:
    image = _solid("P", 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.info.update(options)
    return image


@pytest.mark.parametrize(
    ("form", "image", "color"),
    [
        ("PNG", _solid("RGB", (1, 20, 250)), (1, 20, 250)),
        ("PNG", _solid("L", 77), (77, 77, 77)),
        ("PNG", _solid("1", 1), WHITE),
        ("GIF", _palette(), RED),
        ("PNG", _palette(), RED),
        ("PNG", _palette(transparency=1), WHITE),
        ("PNG", _palette(transparency=0), RED),
        ("PNG", _palette(transparency=b"\xff\x80"), (255, 127, 127)),
        ("PNG", _solid("RGBA", (0, 0, 255, 0)), WHITE),
        ("PNG", _solid("RGBA", (0, 0, 255, 255)), BLUE),
        ("PNG", _solid("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        ("PNG", _solid("LA", (0, 64)), (191, 191, 191)),
        ("WEBP", _solid("RGBA", (0, 0, 255, 0)), WHITE),
        ("PNG", _sixteen_bits(65535), WHITE),
        ("PNG", _sixteen_bits(200 * 257), (200, 200, 200)),
        ("PNG", _sixteen_bits(32768), (128, 128, 128)),
        ("TIFF", _sixteen_bits(100 * 257), (100, 100, 100)),
        ("TIFF", _solid("CMYK", (0, 255, 255, 0)), RED),
        ("JPEG", _solid("CMYK", (0, 255, 255, 0)), RED),
        ("JPEG", _solid("L", 77), (77, 77, 77)),
        ("BMP", _solid("RGB", RED), RED),
        ("PPM", _solid("RGB", BLUE), BLUE),
    ],
)
def test_formats(form: str, image: Image.Image, color: tuple[int, int, int]) -> None:
    file = io.BytesIO()
    image.save(file, form)
    pixels = _square(Image.open(file), 4, 3)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4, 4, 3)
    assert np.array_equal(np.unique(pixels.reshape(-1, 3), axis=0), [color])
    if len(set(color)) == 1:
        assert np.array_equal(_square(Image.open(file), 4, 1), pixels[..., :1])


def test_colour_becomes_luma() -> None:
    for color, luma in [(RED, 76), ((0, 255, 0), 150), (BLUE, 29)]:  # 0.299, 0.587, 0.114
        assert np.all(_square(_solid("RGB", color), 4, 1) == luma)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, 7)), (3, (7, 7)), (4, (7, 0)), (6, (0, 7)), (8, (7, 0))],
)
def test_exif_orientation(orientation: int, corner: tuple[int, int]) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    seen = _square(Image.open(file), 8, 1)[..., 0]
    assert np.argwhere(seen == 255).tolist() == [list(corner)]


def test_the_centre_is_cropped() -> None:
    pixels = np.zeros((4, 11), np.uint8)
    pixels[:, 3:7] = np.arange(16).reshape(4, 4)
    assert np.array_equal(_square(Image.fromarray(pixels), 4, 1)[..., 0], pixels[:, 3:7])
    upright = np.ascontiguousarray(pixels.T)
    assert np.array_equal(
        _square(Image.fromarray(upright), 4, 1)[..., 0],
        pixels[:, 3:7].T,
    )


def test_downscaling_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    pixels = _square(Image.fromarray(stripes), 8, 1).astype(int)
    assert np.abs(pixels - 127).max() <= 10  # picking every eighth column would give 0 or 255


def test_hidden_colours_of_transparent_pixels_do_not_bleed() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 3] = np.tile([0, 255], (64, 32))
    pixels[..., 0] = np.tile([255, 0], (64, 32))  # red where nothing is seen, black elsewhere
    square = _square(Image.fromarray(pixels), 8, 3).astype(int)
    assert np.ptp(square, axis=-1).max() == 0


def test_depths_without_a_known_white_are_refused() -> None:
    for mode in ("I", "F"):
        with pytest.raises(ValueError, match="32-bit"):
            _square(_solid(mode, 1), 4, 1)

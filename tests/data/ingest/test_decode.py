"""Files become the same squares as by plain Pillow, or are refused with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.data.ingest.preprocessing import (
    Preprocessing,
    UndecodableError,
    decode,
    pillow_warnings,
)
from tests.support.photographs import encoded, photograph

RGB = Image.fromarray(photograph(500, 375))
SIXTEEN = Image.fromarray(np.asarray(RGB.convert("L")).astype(np.uint16) * 257)


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    ramp = np.linspace(0, 255, image.width * image.height).reshape(image.height, image.width)
    image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image


MODES = {
    "jpeg": encoded(RGB, "JPEG", quality=92),
    "jpeg 4:4:4 progressive": encoded(RGB, "JPEG", quality=92, subsampling=0, progressive=True),
    "jpeg grey": encoded(RGB.convert("L"), "JPEG", quality=92),
    "jpeg cmyk": encoded(RGB.convert("CMYK"), "JPEG", quality=92),
    "png": encoded(RGB, "PNG"),
    "png grey": encoded(RGB.convert("L"), "PNG"),
    "png palette": encoded(RGB.quantize(64), "PNG"),
    "png alpha": encoded(_with_alpha(RGB), "PNG"),
    "png grey and alpha": encoded(_with_alpha(RGB.convert("L")), "PNG"),
    "png 16 bits": encoded(SIXTEEN, "PNG"),
    "png 1 bit": encoded(RGB.convert("1"), "PNG"),
    "tiff 16 bits": encoded(SIXTEEN, "TIFF"),
    "tiff cmyk": encoded(RGB.convert("CMYK"), "TIFF"),
    "webp alpha": encoded(_with_alpha(RGB), "WEBP", lossless=True),
    "gif": encoded(RGB, "GIF"),
    "bmp": encoded(RGB, "BMP"),
}


def _as_pillow(content: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """The plain way, in Pillow alone; 16 bits by their upper byte."""
    with Image.open(io.BytesIO(content)) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            ground = Image.new("RGBA", image.size, preprocessing.background)
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        image = image.convert({1: "L", 3: "RGB"}[preprocessing.channels])
        R = preprocessing.resolution
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((R, R), Image.Resampling[preprocessing.resize.upper()])
    return np.asarray(image).reshape(R, R, preprocessing.channels)


@pytest.mark.parametrize("resize", ["bicubic", "lanczos", "box"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_squares_equal_plain_pillow(mode: str, channels: int, resize: str) -> None:
    preprocessing = Preprocessing(
        resolution=64, channels=channels, resize=resize, background="#20a060"  # type: ignore[arg-type]
    )  # fmt: skip
    with pillow_warnings():
        square, side = decode(MODES[mode], preprocessing, "key")
        expected = _as_pillow(MODES[mode], preprocessing)
    assert side == 375
    assert square.shape == (64, 64, channels)
    if "16 bits" in mode:
        assert np.abs(square.astype(int) - expected).max() <= 1
    else:
        assert np.array_equal(square, expected)
    assert square.std() > 5


@pytest.mark.parametrize("size", [(500, 375), (31, 47), (128, 128), (1, 9), (2000, 9)])
@pytest.mark.parametrize("resize", ["bicubic", "lanczos", "box"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_and_png_of_one_picture_give_one_result(
    size: tuple[int, int], resize: str, channels: int
) -> None:
    preprocessing = Preprocessing(
        resolution=64, channels=channels, resize=resize  # type: ignore[arg-type]
    )  # fmt: skip
    jpeg = encoded(Image.fromarray(photograph(*size)), "JPEG", quality=92)
    with Image.open(io.BytesIO(jpeg)) as image:
        pixels = np.asarray(image)
    expected, _ = decode(jpeg, preprocessing, "key")
    for form, options in {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}}.items():
        content = encoded(Image.fromarray(pixels), form, **options)
        assert np.array_equal(decode(content, preprocessing, "key")[0], expected)
    assert np.array_equal(decode(pixels, preprocessing, "key")[0], expected)


@pytest.mark.parametrize("resize", ["bicubic", "lanczos", "box"])
def test_a_square_is_not_changed_by_the_next(resize: str) -> None:
    preprocessing = Preprocessing(resolution=128, channels=3, resize=resize)  # type: ignore[arg-type]
    for size in ((128, 128), (200, 128), (500, 375)):
        first, second = (
            encoded(Image.fromarray(photograph(*size, seed=seed)), "JPEG") for seed in (1, 2)
        )
        square, _ = decode(first, preprocessing, "key")
        before = square.copy()
        decode(second, preprocessing, "key")
        assert np.array_equal(square, before)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_orientation(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "something before it"
    content = encoded(RGB.resize((60, 40)), form, exif=exif)
    preprocessing = Preprocessing(resolution=32, channels=3)
    square, _ = decode(content, preprocessing, "key")
    assert np.abs(square.astype(int) - _as_pillow(content, preprocessing)).mean() < 1
    upright, _ = decode(encoded(RGB.resize((60, 40)), form), preprocessing, "key")
    assert (np.abs(square.astype(int) - upright).mean() < 1) == (orientation == 1)


def test_unreadable_exif_is_no_obstacle() -> None:
    content = encoded(RGB, "JPEG", exif=b"Exif\0\0nonsense that is no TIFF header")
    with pillow_warnings():
        square, _ = decode(content, Preprocessing(resolution=32, channels=3), "key")
    assert square.std() > 20


def test_crops() -> None:
    ramp = np.repeat(np.arange(300)[None] * 255 // 299, 100, axis=0)
    wide = Image.fromarray(ramp.astype(np.uint8))

    def first_columns(image: Image.Image, crop: str) -> set[int]:
        preprocessing = Preprocessing(resolution=100, channels=1, crop=crop)  # type: ignore[arg-type]
        content = encoded(image, "PNG")
        squares = [decode(content, preprocessing, f"key {number}")[0] for number in range(200)]
        again = [decode(content, preprocessing, f"key {number}")[0] for number in range(200)]
        assert np.array_equal(squares, again)
        return {int(square[..., 0].min()) for square in squares}

    assert first_columns(wide, "center") == {100 * 255 // 299}
    places = first_columns(wide, "long-edge")
    assert min(places) < 10
    assert max(places) > 190 * 255 // 299
    assert len(first_columns(wide.transpose(Image.Transpose.ROTATE_90), "long-edge")) > 50
    assert first_columns(wide.resize((100, 100)), "long-edge") == {0}


def _png(width: int, height: int) -> bytes:
    """A grey image of zeros that is small as a file, however large it is."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")
    )  # fmt: skip


def _huge_jpeg() -> bytes:
    content = MODES["jpeg"]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 65000, 65000) + content[at + 4 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><title>404", "no known image format; it begins with b'<!DOCTYPE html><"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known image format"),
        (MODES["jpeg"][:9000], "truncated"),
        (MODES["jpeg cmyk"][:9000], "truncated"),
        (MODES["png"][:9000], "truncated"),
        (MODES["webp alpha"][:9000], ""),
        (MODES["jpeg"][:3], ""),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "32-bit pixels have no fixed white"),
        (_png(16000, 16000), "a decompression bomb: more than 178956970 pixels"),
        (_png(40000, 40000), "a decompression bomb"),
        (_huge_jpeg(), "a decompression bomb"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pillow_warnings(), pytest.raises(UndecodableError, match=reason) as caught:
        decode(content, Preprocessing(resolution=32, channels=3), "key")
    assert " at 0x" not in str(caught.value)


def test_flaws_that_cost_no_pixel_are_accepted() -> None:
    content = MODES["jpeg"]
    at = content.index(b"\xff\xda")  # the marker that the pixels follow
    preprocessing = Preprocessing(resolution=32, channels=3)
    square, _ = decode(content[:at] + bytes(7) + content[at:], preprocessing, "key")
    assert np.abs(square.astype(int) - decode(content, preprocessing, "key")[0]).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_damaged_files_raise_no_other_error(mode: str) -> None:
    random = np.random.default_rng(0)
    small = Image.open(io.BytesIO(MODES[mode]))
    form = small.format
    assert form is not None
    content = np.frombuffer(encoded(small.resize((40, 30)), form), np.uint8)
    refused = 0
    with pillow_warnings():
        for attempt in range(150):
            damaged = content.copy()
            damaged[random.integers(len(content), size=1 + attempt % 4)] ^= np.uint8(
                1 << random.integers(8)
            )
            damaged = damaged[: random.integers(1, len(content))] if attempt % 5 == 0 else damaged
            try:
                decode(damaged.tobytes(), Preprocessing(resolution=32, channels=3), "key")
            except UndecodableError:
                refused += 1
    assert refused > 5

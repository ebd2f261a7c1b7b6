"""scikit-learn's handwritten digits: 1797 real 8x8 grey images that need no download."""

from collections.abc import Iterator

import numpy as np
import sklearn
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.data.sources.source import Sample, Source
from pipeline.data.sources.square import VERSIONS, to_square

_BRIGHTEST = 16  # values are counts of ink in 4x4 blocks: 0 to 16


def open_digits(resolution: int, channels: int) -> Source:
    """The digits "0" to "9", bright on black, as uint8 [resolution, resolution, channels]."""
    return Source(
        name="digits",
        class_names=tuple("0123456789"),
        samples=lambda: _samples(resolution, channels),
        origin={"kind": "digits", "from": "sklearn.datasets.load_digits"},
        preprocessing={
            "values": "0..16 to 0..255",
            "resize": "Pillow bicubic from 8x8",
            "versions": {**VERSIONS, "scikit-learn": sklearn.__version__},
        },
    )


def _samples(resolution: int, channels: int) -> Iterator[Sample]:
    digits = load_digits()
    pixels = np.round(digits.images * (255 / _BRIGHTEST)).astype(np.uint8)
    for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        square = to_square(Image.fromarray(image), resolution, channels)
        yield f"digits/{index:05}", square, int(label)

"""scikit-learn's handwritten digits: 1797 real 8x8 grey images that need no download."""

import numpy as np

from pipeline.data.sources.arrays import array_source
from pipeline.data.sources.source import Source

_BRIGHTEST = 16  # values count the inked pixels of 4x4 blocks


def open_digits() -> Source:
    """The digits "0" to "9", bright on black, 8x8 pixels."""
    import sklearn  # here: the import takes a second, which other sources do not need
    from sklearn.datasets import load_digits

    digits = load_digits()
    return array_source(
        "digits",
        tuple("0123456789"),
        [f"digits/{index:05}" for index in range(len(digits.target))],
        np.round(digits.images * (255 / _BRIGHTEST)).astype(np.uint8),
        digits.target,
        origin={"kind": "digits", "from": "sklearn.datasets.load_digits"},
        preprocessing={
            "values": "0..16 to 0..255",
            "versions": {"scikit-learn": sklearn.__version__},
        },
        is_tiny=True,
    )

"""The embedded digits are complete and unchanged."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.core.errors import UserError
from pipeline.data.ingest.plan import is_heldout
from pipeline.data.ingest.preprocessing import Preprocessing, decode
from pipeline.data.sources.select import open_source


def _images(resolution: int, channels: int = 1) -> np.ndarray:
    source = open_source("digits")
    preprocessing = Preprocessing(resolution=resolution, channels=channels)
    return np.stack([decode(raw, preprocessing, "")[0] for raw in source.read(source.items)])


def test_all_digits_with_their_labels() -> None:
    source = open_source("digits")
    assert source.class_names == tuple("0123456789")
    assert source.items.keys[0] == "digits/00000"
    assert source.items.keys[-1] == "digits/01796"
    assert np.array_equal(source.items.labels, load_digits().target)
    stack = _images(32)
    assert stack.shape == (1797, 32, 32, 1)
    assert stack.dtype == np.uint8
    assert (stack.min(), stack.max()) == (0, 255)


def test_pixels_are_the_originals_scaled() -> None:
    # Means over 4x4 blocks undo the enlargement up to what bicubic smoothing mixes in.
    means = _images(32).reshape(-1, 8, 4, 8, 4).mean((2, 4))
    original = load_digits().images * (255 / 16)
    assert np.corrcoef(means.ravel(), original.ravel())[0, 1] > 0.99
    assert abs(means.mean() - original.mean()) < 3
    assert np.array_equal(_images(8)[..., 0], np.round(original))


def test_three_channels_repeat_the_grey() -> None:
    assert np.array_equal(_images(32, 3), np.repeat(_images(32), 3, axis=-1))


def test_both_splits_hold_every_class() -> None:
    target = load_digits().target
    heldout = np.array([is_heldout(f"digits/{i:05}", 0.2) for i in range(1797)])
    assert abs(heldout.mean() - 0.2) < 0.02
    assert np.bincount(target[heldout]).min() >= 20
    assert np.bincount(target[~heldout]).min() >= 100


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.source = 'cifar' is no known source"):
        open_source("cifar")

"""The check for repeated training images, on images that repeat them and on images that do not."""

import numpy as np
import pytest

from pipeline.evaluation.metrics.memorisation import (
    memorisation,
    memorisation_deviations,
)


def _nearest(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    return np.sqrt(((images[:, None] - train[None]) ** 2).sum(axis=2)).min(axis=1)


def _draws(seed: int, *counts: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(count, 5)) for count in counts]


def test_copies_are_found() -> None:
    train, heldout = _draws(0, 300, 200)
    unseen = _nearest(heldout, train)
    copies = train[:100] + 1e-6
    result = memorisation(_nearest(copies, train), unseen)
    assert result is not None
    assert result.ratio < 1e-4
    assert result.near == 1


def test_new_images_of_the_same_kind_look_like_heldout_ones() -> None:
    train, heldout, new = _draws(1, 300, 1000, 1000)
    result = memorisation(_nearest(new, train), _nearest(heldout, train))
    assert result is not None
    assert result.ratio == pytest.approx(1, abs=0.1)
    assert result.near == pytest.approx(0.05, abs=0.02)


def test_it_is_a_ratio_of_medians_and_a_share_below_a_quantile() -> None:
    result = memorisation(np.array([1.0, 2.0, 9.0]), np.arange(1.0, 102.0))
    assert result is not None
    assert (result.ratio, result.near) == (2 / 51, 2 / 3)  # 5 % of 1..101 lies at 6


def test_data_sets_of_repeated_images_have_no_ratio() -> None:
    assert memorisation(np.ones(3), np.array([0.0, 0.0, 1.0])) is None


def test_the_deviation_is_that_of_other_samples() -> None:
    ratios, deviations = [], []
    for seed in range(60):
        nearest, unseen = np.random.default_rng(seed).gamma(4, size=(2, 200))
        result = memorisation(nearest, unseen)
        assert result is not None
        ratios.append(result.ratio)
        deviations.append(memorisation_deviations(nearest, unseen, 20)[0])
    assert np.mean(deviations) == pytest.approx(np.std(ratios, ddof=1), rel=0.4)

"""The standard deviation of pixels within classes, with known answers."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.metrics.within_class_std import ClassPixelStd, within_class_std_ratio


def _images(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=random)
    return images, torch.arange(count) % 4


def _std(images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    deviations = ClassPixelStd(4)
    for part, part_labels in zip(images.split(7), labels.split(7), strict=True):
        deviations.add(part, part_labels)
    return deviations.by_class()


def test_images_that_are_constant_in_a_class_have_no_std() -> None:
    images, labels = _images(4)
    deviations = _std(images.repeat(25, 1, 1, 1), labels.repeat(25))
    assert deviations == pytest.approx(np.zeros(4), abs=1e-4)
    assert within_class_std_ratio(deviations, _std(*_images(100))) == pytest.approx(0, abs=1e-4)


def test_the_real_images_themselves_have_ratio_one() -> None:
    real = _std(*_images(101))
    assert within_class_std_ratio(real, real) == 1
    order = torch.randperm(101, generator=torch.Generator().manual_seed(1))
    images, labels = _images(101)
    assert within_class_std_ratio(_std(images[order], labels[order]), real) == pytest.approx(
        1, rel=1e-12
    )


def test_it_is_the_standard_deviation_of_area_averages() -> None:
    images, labels = _images(50)
    blocks = images.numpy().astype(np.float64).reshape(50, 3, 8, 4, 8, 4).mean(axis=(3, 5))
    expected = [blocks[labels.numpy() == c].std(axis=0, ddof=1).mean() for c in range(4)]
    np.testing.assert_allclose(_std(images, labels), expected, rtol=1e-10)


def test_a_class_of_one_image_counts_on_neither_side() -> None:
    images, labels = _images(9)  # three of class 0, two of the others
    few = _std(images[:6], labels[:6])  # one of class 2 and 3
    assert np.isnan(few).tolist() == [False, False, True, True]
    real = _std(images, labels)
    assert within_class_std_ratio(few, real) == pytest.approx(few[:2].mean() / real[:2].mean())
    assert within_class_std_ratio(_std(images[:4], labels[:4]), real) is None
    assert np.isnan(ClassPixelStd(4).by_class()).all()

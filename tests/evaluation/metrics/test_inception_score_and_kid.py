"""Scores with known answers."""

import numpy as np
import pytest

from pipeline.evaluation.metrics.inception_score import inception_score
from pipeline.evaluation.metrics.kid import kid


def test_inception_score_of_undecided_logits_is_one() -> None:
    score = inception_score(np.zeros((60, 5), np.float32), splits=3)
    assert score == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_inception_score_of_sure_and_balanced_logits_is_the_number_of_classes() -> None:
    logits = np.float32(100) * np.eye(5, dtype=np.float32)[np.arange(500) % 5]
    assert inception_score(logits, splits=1)[0] == pytest.approx(5, rel=1e-6)
    one_class = np.repeat(logits[:1], 500, axis=0)
    assert inception_score(one_class, splits=1)[0] == pytest.approx(1, rel=1e-6)


def test_kid_of_one_subset_of_all_rows_is_the_unbiased_estimate() -> None:
    random = np.random.default_rng(3)
    x, y = random.normal(size=(20, 6)), 0.5 + random.normal(size=(20, 6))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 6 + 1) ** 3)

    n = 20
    within = sum(
        kernel(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j
    ) / (n * (n - 1))
    between = sum(kernel(a, b) for a in x for b in y) / n**2
    mean, std = kid(x.astype(np.float64), y, subsets=2, subset_size=n)
    assert mean == pytest.approx(within - 2 * between, rel=1e-12)
    assert std == pytest.approx(0, abs=1e-9)


def test_kid_is_near_zero_for_one_distribution_and_not_for_two() -> None:
    random = np.random.default_rng(4)
    x, y = random.normal(size=(2, 1000, 8)).astype(np.float32)
    same = kid(x, y, subsets=50, subset_size=200)
    other = kid(x, y + np.float32(0.5), subsets=50, subset_size=200)
    assert abs(same[0]) < same[1]
    assert other[0] > 5 * other[1]

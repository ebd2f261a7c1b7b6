"""Shares of recognised images, counted by hand."""

import numpy as np
import pytest

from pipeline.evaluation.metrics.accuracy import recognise


def test_shares_are_counted_by_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 3])
    taken_for = np.array([0, 0, 0, 2, 1, 0, 3])
    found = recognise(np.eye(4, dtype=np.float32)[taken_for], labels)
    assert found.share == pytest.approx(5 / 7)
    assert found.by_class[[0, 1, 3]].tolist() == [0.75, 0.5, 1]
    assert np.isnan(found.by_class[2])


def test_the_deviation_of_the_lowest_share_is_that_of_other_samples() -> None:
    random = np.random.default_rng(0)
    lowest, deviations = [], []
    for _ in range(200):
        hits = random.binomial(100, [0.5, 0.9, 0.8])
        taken_for = np.concatenate(
            [np.where(np.arange(100) < hit, label, 3) for label, hit in enumerate(hits)]
        )
        logits = np.eye(4, dtype=np.float32)[taken_for]
        found = recognise(logits, np.repeat(np.arange(3), 100))
        lowest.append(np.nanmin(found.by_class))
        deviations.append(found.lowest_deviation(50))
    assert np.mean(deviations) == pytest.approx(np.std(lowest, ddof=1), rel=0.25)

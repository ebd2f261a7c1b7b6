"""Differences between configurations of a study."""

import pytest

from pipeline.search.journal import fold
from pipeline.search.results import config_results, difference, values_of
from tests.support.studies import trial_events


def _configs(*values):
    """Configurations with one value for each seed; None: stopped early."""
    events = []
    for index, per_seed in enumerate(values):
        for seed, value in enumerate(per_seed):
            end = "stopped" if value is None else "complete"
            events += trial_events(index, {"a": index}, value or 0.5, end=end, seed=seed)
    return config_results(fold(events))


def test_difference_is_paired_by_seed():
    better, worse = _configs((10.0, 40.0, 90.0), (11.0, 42.0, 93.0))
    assert better.ci95[1] - better.ci95[0] > 200  # the seeds differ by far more than the two do
    found = difference(worse, better)
    assert found.value == pytest.approx(2)
    # Student's t with 2 degrees of freedom: 4.302653 times 1 / sqrt(3).
    assert found.ci95 == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert difference(better, worse).value == pytest.approx(-2)


def test_difference_needs_seeds_in_common():
    first, second, third = _configs((10.0, 40.0), (None, 41.0), (12.0, None))
    assert values_of(second) == (41.0,)
    found = difference(second, first)
    assert (found.value, found.ci95) == (1.0, None)
    assert difference(second, third) is None

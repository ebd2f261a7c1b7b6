"""Agreement of orders: exact, against scipy and by brute force; seeds drawn anew."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from pipeline.reporting.studies.rank_agreement import rank_agreement, redrawn


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_tau_and_p_are_those_of_scipy(n):
    random = np.random.default_rng(n)
    for _ in range(5):
        ours, theirs = random.standard_normal((2, n))
        found = rank_agreement(ours, theirs)
        for side, p in (("greater", found.p_at_least), ("less", found.p_at_most)):
            expected = stats.kendalltau(ours, theirs, method="exact", alternative=side)
            assert found.tau == pytest.approx(expected.statistic)
            assert float(p) == pytest.approx(expected.pvalue)


def test_a_perfect_order_of_three_is_one_in_six():
    found = rank_agreement([1.0, 2.0, 3.0], [10.0, 20.0, 40.0])
    assert (found.tau, found.p_at_least, found.p_perfect) == (1.0, Fraction(1, 6), Fraction(1, 6))


def test_a_tie_counts_for_neither_side():
    found = rank_agreement([1.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert found.tau == pytest.approx(2 / 3)
    assert found.p_at_least == Fraction(1, 3)  # 2 of 6 orders, which differ by the tie alone


def test_what_has_no_order_is_refused():
    for ours, theirs in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), (range(10), range(10))):
        with pytest.raises(ValueError, match="have no order"):
            rank_agreement(ours, theirs)


def test_one_seed_says_nothing_of_others():
    assert redrawn([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]) is None


def test_share_of_same_order_is_that_of_student_s_t():
    # Two things, whose seeds do nothing alike: their difference over its error is Student's t.
    ours = [[1.0, 3.0], [4.0, 2.5, 6.0]]
    found = redrawn(ours, [1.0, 2.0])
    difference = np.mean(ours[1]) - np.mean(ours[0])
    within = sum(np.var(values) * len(values) for values in ours)
    error = np.sqrt(within / 3 * (1 / 2 + 1 / 3))
    assert found.same_order == pytest.approx(stats.t.cdf(difference / error, 3), abs=0.01)


def test_what_a_seed_does_to_all_alike_does_not_blur_the_order():
    random = np.random.default_rng(0)
    steady = np.array([[1.0], [2.0], [3.0], [4.0]]) + 0.05 * random.standard_normal((4, 3))
    shifted = steady + np.array([0.0, 60.0, -30.0])
    assert redrawn(shifted, range(4)).same_order > 0.95
    unpaired = [list(values) for values in shifted]
    unpaired[0].append(25.0)  # not the same seeds: nothing can be taken out
    assert redrawn(unpaired, range(4)).same_order < 0.2

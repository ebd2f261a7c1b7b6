"""Agreement of orders against all permutations, and the bootstrap over seeds."""

import itertools

import numpy as np
import pytest
from scipy import stats

from pipeline.reporting.studies.rank_agreement import bootstrap_seeds, rank_agreement


@pytest.mark.parametrize("n", [2, 3, 5, 7])
@pytest.mark.parametrize("values", [100, 4])  # 4: with ties
def test_tau_and_p_are_those_of_all_orders(n, values):
    random = np.random.default_rng(n)
    ours, theirs = random.permutation(values)[:n] % values, random.integers(0, values, (n,))
    if values == 4:
        ours = np.resize(ours, n)
    found = rank_agreement([float(x) for x in ours], [float(x) for x in theirs])

    def score(order):
        pairs = itertools.combinations(range(n), 2)
        return sum(np.sign((order[i] - order[j]) * (theirs[i] - theirs[j])) for i, j in pairs)

    scores = [score(order) for order in itertools.permutations(ours)]
    own = score(ours)
    assert found.p_at_least == pytest.approx(np.mean([s >= own for s in scores]))
    assert found.p_at_most == pytest.approx(np.mean([s <= own for s in scores]))


def test_a_perfect_order_of_three_is_one_in_six():
    found = rank_agreement([1.0, 2.0, 3.0], [10.0, 20.0, 40.0])
    assert (found.tau, found.p_at_least) == (1.0, pytest.approx(1 / 6))
    assert found.p_perfect == pytest.approx(1 / 6)


def test_tau_of_known_orders():
    # Pairs in the same order 9, in the opposite 1, of 10.
    assert rank_agreement([1, 2, 3, 5, 4], [1, 2, 3, 4, 5]).tau == pytest.approx(0.8)
    # Of the 5! orders one has no pair reversed, and four have one.
    assert rank_agreement([1, 2, 3, 5, 4], [1, 2, 3, 4, 5]).p_at_least == pytest.approx(5 / 120)


def test_what_has_no_order_is_refused():
    for ours, theirs in (([1.0], [1.0]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError, match="have no order"):
            rank_agreement(ours, theirs)


def test_one_seed_says_nothing_of_others():
    assert bootstrap_seeds([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]) is None


def test_share_of_same_order_is_that_of_student_s_t():
    # Two things, whose seeds do nothing alike: their difference over its error is Student's t.
    ours = [[1.0, 3.0], [4.0, 2.5, 6.0]]
    found = bootstrap_seeds(ours, [1.0, 2.0])
    difference = np.mean(ours[1]) - np.mean(ours[0])
    within = sum(np.var(values) * len(values) for values in ours)
    error = np.sqrt(within / 3 * (1 / 2 + 1 / 3))
    assert found.same_order == pytest.approx(stats.t.cdf(difference / error, 3), abs=0.01)


def test_what_a_seed_does_to_all_alike_does_not_blur_the_order():
    random = np.random.default_rng(0)
    steady = np.array([[1.0], [2.0], [3.0], [4.0]]) + 0.05 * random.standard_normal((4, 3))
    shifted = steady + np.array([0.0, 60.0, -30.0])
    assert bootstrap_seeds(shifted, range(4)).same_order > 0.95
    unpaired = [list(values) for values in shifted]
    unpaired[0].append(25.0)  # not the same seeds: nothing can be taken out
    assert bootstrap_seeds(unpaired, range(4)).same_order < 0.2

"""How far two orders of the same few things agree, and how much of that chance may have done."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

MAX_ITEMS = 9
"""All orders are gone through: 9! of them are 362,880."""
_DRAWS = 20_000

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class RankAgreement:
    """Kendall's tau between two orders, exact."""

    num_items: int
    tau: float
    """tau-a: pairs in the same order less those in the opposite one, over all pairs; -1..1."""
    p_at_least: Fraction
    """Share of all orders that agree at least as well."""
    p_at_most: Fraction
    """Share of all orders that agree at most as well."""

    @property
    def p_perfect(self) -> Fraction:
        """What `p_at_least` is when all agrees: there is no stronger evidence in so few items."""
        return Fraction(1, math.factorial(self.num_items))


@dataclass(frozen=True, kw_only=True, slots=True)
class Redrawn:
    """What tau would be with other seeds."""

    low: float
    """2.5 % of tau lie below."""
    high: float
    """2.5 % of tau lie above."""
    same_order: float
    """Share of draws whose order is the other's exactly."""


def rank_agreement(ours: Sequence[float], theirs: Sequence[float]) -> RankAgreement:
    """Kendall (Biometrika 30, 1938): both are finite, 2 to MAX_ITEMS values of the same things.

    One-sided exact p-values over all orders of ours. A tie in either counts for neither side.
    """
    n = len(ours)
    if n != len(theirs) or not 2 <= n <= MAX_ITEMS:
        raise ValueError(f"{n} and {len(theirs)} values have no order to compare")
    a, b = _signs(np.asarray(ours, np.float64)), _signs(np.asarray(theirs, np.float64))
    orders = np.array(list(itertools.permutations(range(n))), np.int8)  # [n!, n]
    scores = np.zeros(len(orders), np.int64)
    for i, j in itertools.combinations(range(n), 2):
        scores += b[i, j] * a[orders[:, i], orders[:, j]]
    score = scores[0]  # the first order changes nothing
    return RankAgreement(
        num_items=n,
        tau=float(score) / math.comb(n, 2),
        p_at_least=Fraction(int((scores >= score).sum()), len(scores)),
        p_at_most=Fraction(int((scores <= score).sum()), len(scores)),
    )


def redrawn(ours: Sequence[Sequence[float]], theirs: Sequence[float]) -> Redrawn | None:
    """What tau does when the seeds are drawn anew; None where nothing is known of their spread.

    `ours` holds the values of each thing, one a seed in the order of the seeds. A parametric
    bootstrap: means scatter by Student's t with the variance within things, pooled, for a few seeds
    alone say little. What a seed does to all of them alike moves no order and is left out.
    """
    counts = np.array([len(values) for values in ours])
    within, freedom = _scatter(ours)
    if freedom < 1:
        return None
    random = np.random.default_rng(0)
    deviations = np.sqrt(within / random.chisquare(freedom, (_DRAWS, 1)))
    noise = random.standard_normal((_DRAWS, len(ours))) * deviations / np.sqrt(counts)
    means = np.array([np.mean(values) for values in ours]) + noise  # [draws, n]
    b = _signs(np.asarray(theirs, np.float64))
    pairs = list(itertools.combinations(range(len(ours)), 2))
    agreeing = np.stack([b[i, j] * np.sign(means[:, i] - means[:, j]) for i, j in pairs])
    taus = agreeing.sum(axis=0) / len(pairs)
    low, high = np.quantile(taus, [0.025, 0.975])
    return Redrawn(low=float(low), high=float(high), same_order=float((taus == 1).mean()))


def _scatter(ours: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Sum of squares within things, and its degrees of freedom."""
    n = len(ours[0])
    if n > 1 and all(len(values) == n for values in ours):
        table = np.array(ours)  # [things, seeds]
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        return float((rest**2).sum()), (len(ours) - 1) * (n - 1)
    within = sum(float(np.var(values)) * len(values) for values in ours)
    return within, sum(len(values) - 1 for values in ours)


def _signs(values: Values) -> npt.NDArray[np.int64]:
    """Of all differences [n, n]."""
    return np.sign(values[:, None] - values[None, :]).astype(np.int64)

"""Agreement of two orders of the same systems: Kendall's tau, its p-values, and other seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RankAgreement:
    """Kendall's tau between two orders, with one-sided p-values."""

    num_items: int
    tau: float
    """tau-b: -1..1, 0 where all values of a side are equal; without ties the pairs in the same
    order less the others, over all pairs."""
    p_at_least: float
    """Probability that a random order agrees at least as well."""
    p_at_most: float
    """Probability that a random order agrees at most as well."""

    @property
    def is_same_order(self) -> bool:
        """Whether all pairs agree."""
        return math.isclose(self.tau, 1.0)

    @property
    def p_perfect(self) -> float:
        """The smallest possible `p_at_least`, that of two equal orders without ties."""
        return 1 / math.factorial(self.num_items)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedBootstrap:
    """The distribution of tau over other sets of seeds."""

    low: float
    """2.5 % quantile."""
    high: float
    """97.5 % quantile."""
    same_order: float
    """Share of draws with exactly the other order."""


def rank_agreement(ours: Sequence[float], theirs: Sequence[float]) -> RankAgreement:
    """Kendall's tau (Biometrika 30, 1938) of two or more finite values of the same systems.

    The p-values are exact without ties, else by permutation: over all orders of up to seven
    systems, over 9,999 random ones of more. Raises ValueError for other numbers of values.
    """
    n = len(ours)
    if n != len(theirs) or n < 2:
        raise ValueError(f"{n} and {len(theirs)} values have no order to compare")
    if len(set(ours)) == 1 or len(set(theirs)) == 1:
        return RankAgreement(num_items=n, tau=0.0, p_at_least=1.0, p_at_most=1.0)
    ties = len(set(ours)) < n or len(set(theirs)) < n
    p_values = []
    for alternative in ("greater", "less"):
        if ties:
            found = stats.permutation_test(
                (ours,),
                lambda values: stats.kendalltau(values, theirs).statistic,
                permutation_type="pairings",
                alternative=alternative,
                rng=np.random.default_rng(0),
            )
        else:
            found = stats.kendalltau(ours, theirs, method="exact", alternative=alternative)
        p_values.append(float(found.pvalue))
    return RankAgreement(
        num_items=n,
        tau=float(stats.kendalltau(ours, theirs).statistic),
        p_at_least=p_values[0],
        p_at_most=p_values[1],
    )


def bootstrap_seeds(
    ours: Sequence[Sequence[float]], theirs: Sequence[float]
) -> SeedBootstrap | None:
    """The distribution of tau when seeds are drawn again; None with one seed a system.

    `ours` holds the values of each system, in the order of the seeds. A parametric bootstrap: means
    are drawn by Student's t with the variance within systems, pooled, as each system has few seeds.
    An effect of a seed on all systems alike changes no order and is removed.
    """
    counts = np.array([len(values) for values in ours])
    within, freedom = _scatter(ours)
    if freedom < 1:
        return None
    random = np.random.default_rng(0)
    deviations = np.sqrt(within / random.chisquare(freedom, (_DRAWS, 1)))
    noise = random.standard_normal((_DRAWS, len(ours))) * deviations / np.sqrt(counts)
    means = np.array([np.mean(values) for values in ours]) + noise  # [draws, n]
    pairs = list(itertools.combinations(range(len(ours)), 2))
    agreeing = [np.sign((theirs[i] - theirs[j]) * (means[:, i] - means[:, j])) for i, j in pairs]
    taus = np.sum(agreeing, axis=0) / len(pairs)
    low, high = np.quantile(taus, [0.025, 0.975])
    return SeedBootstrap(low=float(low), high=float(high), same_order=float((taus == 1).mean()))


def _scatter(ours: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Sum of squares within systems, and its degrees of freedom."""
    n = len(ours[0])
    if n > 1 and all(len(values) == n for values in ours):
        table = np.array(ours)  # [systems, seeds]
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        return float((rest**2).sum()), (len(ours) - 1) * (n - 1)
    within = sum(float(np.var(values)) * len(values) for values in ours)
    return within, sum(len(values) - 1 for values in ours)

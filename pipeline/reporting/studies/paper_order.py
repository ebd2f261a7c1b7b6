"""Whether a study finds the systems in the order that the paper reports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.reporting.numbers import count, significant
from pipeline.reporting.published import PublishedRow
from pipeline.reporting.studies.rank_agreement import (
    RankAgreement,
    SeedBootstrap,
    bootstrap_seeds,
    rank_agreement,
)
from pipeline.search.results import ConfigResult, StudyResults, is_finished, values_of, varied

VARIANT = "model.variant"
_HIGHER = ("is_mean", "precision", "recall", "density", "coverage")
_TITLES = {"fid": "FID", "is_mean": "inception score", "intra_fid": "intra FID"}
_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class OrderStatement:
    """The order of systems in one table of the paper, and ours."""

    place: str
    """`Table 1`, or `Figure 4, 10,000 updates`."""
    metric: str
    """The paper's metric."""
    lower_first: bool
    """Whether less of that is better."""
    theirs: tuple[str, ...]
    """The paper's order, the best first: names with values."""
    ours: tuple[str, ...]
    """Ours."""
    agreement: RankAgreement
    bootstrap: SeedBootstrap | None
    """None with one seed a configuration."""
    evidence: str
    """tau, its p-value and the bootstrap, as text."""
    verdict: str
    """The conclusion that the evidence allows."""


def paper_orders(
    results: StudyResults, published: Sequence[PublishedRow]
) -> tuple[OrderStatement, ...]:
    """A statement for each order of two systems or more, the longest first.

    None for a study that varies anything but the system: a system's place would hang on its rates.
    """
    if varied(results) != (VARIANT,):
        return ()
    ours = {str(c.config[VARIANT]): c for c in results.configs if c.value is not None}
    stem = results.metric.partition("_")[0].rstrip("0123456789k")
    statements = []
    for rows in _grouped(published, ours).values():
        covered: dict[str, list[PublishedRow]] = {}
        for metric in (stem, *_TITLES):
            covered.setdefault(metric, [row for row in rows if metric in row.numbers])
        own = len(covered[stem])
        statements += [
            _statement(results, ours, members, metric)
            for metric, members in covered.items()
            # Another metric than ours only where the paper has it of more systems.
            if len(members) >= 2 and (metric == stem or len(members) > own)
        ]
    return tuple(sorted(statements, key=lambda s: -s.agreement.num_items))


def _grouped(
    published: Sequence[PublishedRow], ours: Mapping[str, ConfigResult]
) -> dict[tuple[str, int | None], list[PublishedRow]]:
    groups: dict[tuple[str, int | None], list[PublishedRow]] = {}
    for row in published:
        if row.table != "port" and row.variant in ours:
            groups.setdefault((row.table, row.updates), []).append(row)
    return groups


def _statement(
    results: StudyResults,
    configs: Mapping[str, ConfigResult],
    rows: Sequence[PublishedRow],
    metric: str,
) -> OrderStatement:
    # Both so that less is better.
    our_sign = 1 if results.mode == "min" else -1
    their_sign = -1 if metric in _HIGHER else 1
    published = {str(row.variant): row.numbers[metric].value for row in rows}
    found = {name: configs[name] for name in published}
    means = {name: config.value for name, config in found.items() if config.value is not None}
    theirs = [their_sign * value for value in published.values()]
    ours = [[our_sign * value for value in values_of(found[name])] for name in published]
    agreement = rank_agreement([our_sign * means[name] for name in published], theirs)
    bootstrap = bootstrap_seeds(ours, theirs)
    return OrderStatement(
        place=_place(rows[0]),
        metric=_TITLES.get(metric, metric),
        lower_first=their_sign == 1,
        theirs=_listed(published, their_sign),
        ours=_listed(means, our_sign),
        agreement=agreement,
        bootstrap=bootstrap,
        evidence=_evidence(agreement, bootstrap),
        verdict=("" if is_finished(results) else "So far: ") + _verdict(agreement, bootstrap),
    )


def _place(row: PublishedRow) -> str:
    return row.table if row.updates is None else f"{row.table}, {count(row.updates)} updates"


def _listed(values: Mapping[str, float], sign: int) -> tuple[str, ...]:
    order = sorted(values, key=lambda name: sign * values[name])
    return tuple(f"{name} ({significant(values[name], 4)})" for name in order)


def _evidence(agreement: RankAgreement, bootstrap: SeedBootstrap | None) -> str:
    text = (
        f"Kendall's tau {_tau(agreement.tau)} over {agreement.num_items} systems; a random order "
        f"agrees as well with probability {_p(agreement.p_at_least, agreement.num_items)}"
    )
    if bootstrap is None:
        return f"{text}. One seed a system, so the effect of other seeds is unknown."
    return (
        f"{text}. In a bootstrap over seeds, 95 % of tau lie in "
        f"{_tau(bootstrap.low)} to {_tau(bootstrap.high)}, and "
        f"{100 * bootstrap.same_order:.0f} % have exactly the paper's order."
    )


def _verdict(agreement: RankAgreement, bootstrap: SeedBootstrap | None) -> str:
    n = agreement.num_items
    if agreement.p_perfect > _LEVEL:
        return (
            f"{n} systems are too few for a test: even a perfect order has "
            f"p = {_p(agreement.p_perfect, n)}."
        )
    if agreement.p_at_most <= _LEVEL:
        return f"The order is the reverse of the paper's (p = {_p(agreement.p_at_most, n)})."
    if agreement.p_at_least > _LEVEL:
        return "The paper's order is not reproduced: the agreement is not significant."
    whole = (
        "is reproduced" if agreement.is_same_order else "is reproduced in most pairs, not in all"
    )
    if bootstrap is None:
        return (
            f"The paper's order {whole}, by single runs: the agreement is significant, but other "
            "seeds may order the systems differently."
        )
    if bootstrap.low <= 0:
        return (
            "The means agree with the paper's order significantly, but the variance over seeds is "
            "too large for a conclusion: more seeds are needed."
        )
    return f"The paper's order {whole}: significant, and beyond the variance over seeds."


def _tau(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _p(p: float, num_items: int) -> str:
    orders = math.factorial(num_items)
    if orders <= 120:
        return str(Fraction(p).limit_denominator(orders))  # a count of orders, over their number
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"

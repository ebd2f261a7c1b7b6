"""Whether a study finds the systems in the order that the paper reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.reporting.numbers import count, significant
from pipeline.reporting.published import PublishedRow
from pipeline.reporting.studies.rank_agreement import (
    MAX_ITEMS,
    RankAgreement,
    Redrawn,
    rank_agreement,
    redrawn,
)
from pipeline.search.ranking import is_finished, values_of, varied
from pipeline.search.results import ConfigResult, StudyResults

VARIANT = "model.variant"
_HIGHER = ("is_mean", "precision", "recall", "density", "coverage")
_TITLES = {"fid": "FID", "is_mean": "inception score", "intra_fid": "intra FID"}
_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class OrderStatement:
    """One order of the paper beside ours."""

    place: str
    """`Table 1`, or `Figure 4, 10,000 updates`."""
    metric: str
    """What the paper orders by."""
    lower_first: bool
    """Whether less of that is better."""
    theirs: tuple[str, ...]
    """The paper's order, the best first: names with values."""
    ours: tuple[str, ...]
    """Ours."""
    agreement: RankAgreement
    redrawn: Redrawn | None
    """None with one seed a configuration."""
    evidence: str
    """Figures."""
    verdict: str
    """What they bear, and no more."""


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
            if 2 <= len(members) <= MAX_ITEMS and (metric == stem or len(members) > own)
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
    spread = redrawn(ours, theirs)
    return OrderStatement(
        place=_place(rows[0]),
        metric=_TITLES.get(metric, metric),
        lower_first=their_sign == 1,
        theirs=_listed(published, their_sign),
        ours=_listed(means, our_sign),
        agreement=agreement,
        redrawn=spread,
        evidence=_evidence(agreement, spread),
        verdict=("" if is_finished(results) else "So far: ") + _verdict(agreement, spread),
    )


def _place(row: PublishedRow) -> str:
    return row.table if row.updates is None else f"{row.table}, {count(row.updates)} updates"


def _listed(values: Mapping[str, float], sign: int) -> tuple[str, ...]:
    order = sorted(values, key=lambda name: sign * values[name])
    return tuple(f"{name} ({significant(values[name], 4)})" for name in order)


def _evidence(agreement: RankAgreement, spread: Redrawn | None) -> str:
    text = (
        f"Kendall's tau {_tau(agreement.tau)} over {agreement.num_items} systems; a random order "
        f"agrees as well with probability {_p(agreement.p_at_least)}"
    )
    if spread is None:
        return f"{text}. One seed a system, so what other seeds would give is unknown."
    return (
        f"{text}. With seeds drawn anew from their spread, 95 % of tau lie in "
        f"{_tau(spread.low)} to {_tau(spread.high)}, and "
        f"{100 * spread.same_order:.0f} % have the paper's order exactly."
    )


def _verdict(agreement: RankAgreement, spread: Redrawn | None) -> str:
    if float(agreement.p_perfect) > _LEVEL:
        return (
            f"{agreement.num_items} systems are too few to tell: even a perfect order has "
            f"p = {agreement.p_perfect}."
        )
    if agreement.p_at_most <= _LEVEL:
        return f"The order runs against the paper's (p = {_p(agreement.p_at_most)})."
    if agreement.p_at_least > _LEVEL:
        return "The paper's order is not reproduced: chance would do as well too often."
    whole = "is reproduced" if agreement.tau == 1 else "is reproduced in the main, not in full"
    if spread is None:
        return (
            f"The paper's order {whole}, by single runs: it is more than chance, but other seeds "
            "may order the systems otherwise."
        )
    if spread.low <= 0:
        return (
            "The means follow the paper's order beyond chance, but the seeds scatter so much that "
            "others may not: more seeds would tell."
        )
    return f"The paper's order {whole}, beyond chance and beyond the seeds' spread."


def _tau(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _p(share: Fraction) -> str:
    if share.denominator <= 120:
        return f"{share}"
    return f"{float(share):.2g}" if share >= Fraction(1, 10_000) else f"{float(share):.0e}"

"""The published numbers of a study's systems, and whether the study's are comparable."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reporting.comparable import OurProtocol, comparable
from pipeline.reporting.numbers import count, significant
from pipeline.reporting.published import PublishedRow
from pipeline.reporting.studies.paper_order import VARIANT
from pipeline.search.metric import Measurement
from pipeline.search.results import StudyResults, ranked, varied

_TITLES = {"fid": "FID", "is_mean": "IS", "intra_fid": "intra FID"}
_PAPER_LENGTH = "1,000,000 updates of 256 images (256,000 kimg)"


@dataclass(frozen=True, kw_only=True)
class StudyPaperRow:
    """One row of the paper."""

    variant: str
    name: str
    place: str
    """`Table 1`."""
    numbers: str
    """`FID 22.14, IS 45.94 (recalled, not checked again)`."""
    ours: str
    """Our mean; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class StudyPaperTable:
    """The paper's rows of all systems in a study, the study's best system first."""

    lines: tuple[StudyPaperRow, ...]
    source: str
    recalled: bool
    """Whether a number was recalled, and not checked in the paper again."""
    reason: str
    """Why the values are not comparable; empty where they are."""


def paper_table(
    results: StudyResults, measured: Measurement | None, published: Sequence[PublishedRow]
) -> StudyPaperTable | None:
    """None where the paper has no number of the study's systems."""
    ours = _systems(results)
    rows = [row for row in published if row.table != "port" and row.variant in ours]
    if not rows:
        return None
    order = list(ours)
    rows.sort(key=lambda row: order.index(str(row.variant)))
    stem = results.metric.partition("_")[0].rstrip("0123456789k")
    like = [row for row in rows if stem in row.numbers] or rows
    return StudyPaperTable(
        lines=tuple(_line(row, ours[str(row.variant)]) for row in rows),
        source=rows[0].source.title,
        recalled=any(n.read == "unverified" for row in rows for n in row.numbers.values()),
        reason=_reason(results, measured, like[0], stem),
    )


def _systems(results: StudyResults) -> dict[str, float | None]:
    """Our mean of each system, the best first; none where other keys vary too."""
    if VARIANT not in varied(results):
        return {str(results.params["model"]["variant"]): None}
    if varied(results) == (VARIANT,):
        known = {str(c.config[VARIANT]): c.value for c in ranked(results)}
    else:
        known = {str(c.config[VARIANT]): None for c in ranked(results)}
    return known | {
        str(c.config[VARIANT]): None for c in results.configs if str(c.config[VARIANT]) not in known
    }


def _line(row: PublishedRow, ours: float | None) -> StudyPaperRow:
    numbers = []
    for metric, number in row.numbers.items():
        mark = {"second-hand": " (as others quote it)", "unverified": " (recalled)"}
        title = _TITLES.get(metric, metric)
        numbers.append(f"{title} {number.value:g}{mark.get(number.read, '')}")
    place = row.table if row.updates is None else f"{row.table}, {count(row.updates)} updates"
    return StudyPaperRow(
        variant=str(row.variant),
        name=row.name,
        place=place,
        numbers=", ".join(numbers),
        ours="" if ours is None else significant(ours, 4),
    )


def _reason(
    results: StudyResults, measured: Measurement | None, row: PublishedRow, metric: str
) -> str:
    if measured is None or not measured.protocol:
        return f"how {results.metric} compares with a published metric is not known"
    protocol = OurProtocol(
        name=measured.name,
        data=frozenset({measured.kind, measured.name.lower().replace("_", "-")}),
        resolution=measured.resolution,
        num_classes=measured.num_classes,
        entry=measured.protocol,
    )
    found = comparable(row, metric, protocol)
    length = f"{_PAPER_LENGTH}, not {results.section['max_kimg']:g} kimg"
    return "" if found is None else f"{found}; {length}"

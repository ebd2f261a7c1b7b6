"""The published numbers of a system, and ours beside those that were measured alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.manifest import Manifest
from pipeline.reporting.metric_kinds import EXTRACTORS, KINDS
from pipeline.reporting.numbers import count
from pipeline.reporting.published import (
    OurProtocol,
    PublishedRow,
    comparable,
    our_protocol,
    paper_rows,
    remark,
)

_MARKS = {
    "paper": "",
    "repository": "",
    "second-hand": "as others quote it",
    "unverified": "recalled, not checked again",
}
_TITLES = {kind.stem: kind.title for kind in KINDS}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One published number."""

    title: str
    value: str
    mark: str
    """How it was read, where that is not its author's own text."""
    ours: str
    """Our number; empty where it does not compare."""
    remark: str
    """Why not, or what differs all the same."""


@dataclass(frozen=True, kw_only=True)
class BesideRow:
    """What one publication says of one system."""

    name: str
    source: str
    """`Table 1 of ...`."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class BesidePaper:
    """All that is published of the system, and of others on the same images."""

    rows: tuple[BesideRow, ...]
    compares: bool
    """Whether one of ours stands beside any."""
    reasons: tuple[str, ...]
    """Where none does: what keeps them apart, in the first row's case."""


def beside_paper(
    published: Sequence[PublishedRow],
    variant: str,
    metrics: Mapping[str, float | None],
    protocol: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
) -> BesidePaper:
    """Of a run of the system `variant`: its metrics, their protocols and its data set."""
    here = our_protocol({}, manifest)
    chosen = list(paper_rows(published, variant))
    chosen += [
        row
        for row in published
        if row not in chosen
        and row.protocol.data in here.data
        and row.protocol.resolution == here.resolution
    ]
    rows, reasons = [], []
    for row in chosen:
        cells = []
        for metric, number in row.numbers.items():
            key = _our_key(metric, row, protocol)
            ours = None if key is None else our_protocol(protocol[key], manifest)
            reason = comparable(row, metric, ours)
            value = None if key is None or reason is not None else metrics.get(key)
            reasons.append(reason)
            cells.append(
                Cell(
                    title=_TITLES.get(metric, metric),
                    value=f"{number.value:g}",
                    mark=_MARKS[number.read],
                    ours="" if value is None else f"{value:.4g}",
                    remark=reason or _remark(row, metric, ours),
                )
            )
        rows.append(BesideRow(name=_name(row), source=_source(row), cells=tuple(cells)))
    compares = any(cell.ours for row in rows for cell in row.cells)
    first = max((r for r in reasons if r is not None), key=len, default="")
    return BesidePaper(
        rows=tuple(rows), compares=compares, reasons=() if compares else tuple(first.split("; "))
    )


def _our_key(
    metric: str, row: PublishedRow, protocol: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """The key of our number under the best extractor, its weights raw or averaged as the row's."""
    ending = "" if row.protocol.weights == "EMA" else "_raw"
    keys = [f"{metric}{suffix}{ending}" for suffix in EXTRACTORS]
    return next((key for key in keys if key in protocol), None)


def _remark(row: PublishedRow, metric: str, ours: OurProtocol | None) -> str:
    return "" if ours is None else remark(row, metric, ours) or ""


def _name(row: PublishedRow) -> str:
    return row.name if row.updates is None else f"{row.name}, {count(row.updates)} updates"


def _source(row: PublishedRow) -> str:
    return row.source.title if row.table == "port" else f"{row.table}; {row.source.title}"

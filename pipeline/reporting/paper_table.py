"""The published numbers of a system, with ours where both were measured in the same way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data.shards.manifest import Manifest
from pipeline.reporting.comparable import OurProtocol, comparable, our_protocol, remark
from pipeline.reporting.metric_kinds import EXTRACTORS, KINDS
from pipeline.reporting.numbers import count
from pipeline.reporting.published import PublishedRow

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
    """Where the number was read, if not in the publication itself."""
    ours: str
    """Our number; empty where it is not comparable."""
    remark: str
    """A difference of comparable numbers, or why this number is not comparable."""


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """The numbers of one publication for one system."""

    name: str
    source: str
    """`Table 1 of ...`."""
    cells: tuple[Cell, ...]
    reason: str
    """Why no number is comparable; empty where one is."""

    @property
    def compares(self) -> bool:
        """Whether one of its numbers has a comparable number of ours."""
        return any(cell.ours for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """All published numbers of the system, and of other systems on the same images."""

    comparable: tuple[PaperRow, ...]
    """Rows with a comparable number of ours."""
    others: tuple[PaperRow, ...]


def paper_table(
    published: Sequence[PublishedRow],
    variant: str,
    metrics: Mapping[str, float | None],
    protocol: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
) -> PaperTable:
    """The published rows for a run of the system `variant` on the data set of `manifest`."""
    here = our_protocol({}, manifest)
    chosen = [row for row in published if row.variant == variant]
    chosen += [
        row
        for row in published
        if row not in chosen
        and row.protocol.data in here.data
        and row.protocol.resolution == here.resolution
    ]
    rows = [_row(row, metrics, protocol, manifest) for row in chosen]
    return PaperTable(
        comparable=tuple(row for row in rows if row.compares),
        others=tuple(row for row in rows if not row.compares),
    )


def _row(
    row: PublishedRow,
    metrics: Mapping[str, float | None],
    protocol: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
) -> PaperRow:
    keys = {metric: _our_key(metric, row, protocol) for metric in row.numbers}
    ours = {m: None if k is None else our_protocol(protocol[k], manifest) for m, k in keys.items()}
    reasons = {metric: comparable(row, metric, ours[metric]) for metric in row.numbers}
    values = {m: None if reasons[m] or k is None else metrics.get(k) for m, k in keys.items()}
    compares = any(value is not None for value in values.values())
    cells = [
        Cell(
            title=_TITLES.get(metric, metric),
            value=f"{number.value:g}",
            mark=_MARKS[number.read],
            ours="" if values[metric] is None else f"{values[metric]:.4g}",
            remark=(reasons[metric] or _remark(row, metric, ours[metric])) if compares else "",
        )
        for metric, number in row.numbers.items()
    ]
    said = [reason for reason in reasons.values() if reason is not None]
    return PaperRow(
        name=row.name if row.updates is None else f"{row.name}, {count(row.updates)} updates",
        source=row.source.title if row.table == "port" else f"{row.table}; {row.source.title}",
        cells=tuple(cells),
        reason="" if compares else max(said, key=len),
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

"""`metrics.json` and `protocol.json` as the rows of a table."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.metric_kinds import DIVERSITY, EXTRACTORS, KINDS, OFFICIAL, Kind
from pipeline.reporting.numbers import percent, significant, with_interval, with_std

_STEMS = {kind.stem for kind in KINDS}
# Of the numbers of which every evaluation has one.
_SUFFIX = re.compile(
    r"(fd(?!_infinity)|kid_mean|precision|density)(?P<suffix>_.+?)"
    r"(?<!_raw)(?<!_ci95_low)(?<!_ci95_high)"
)
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Figure:
    """A number as it is shown."""

    value: str
    uncertainty: str = ""
    """A standard deviation or an interval, shown smaller."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one extractor."""

    key: str
    title: str
    extractor: str
    better: str
    meaning: str
    ema: Figure
    raw: Figure | None
    reference: Figure | None
    reference_name: str
    protocol: tuple[tuple[str, str], ...]
    """(name, value) of the measurement protocol."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One of the few numbers that sum an evaluation up."""

    row: Row
    beside: tuple[tuple[str, Figure], ...]
    """(name, number) of reference values."""


@dataclass(frozen=True, kw_only=True)
class MetricTable:
    """All the numbers of an evaluation."""

    rows: tuple[Row, ...]
    others: tuple[Row, ...]
    """Numbers that no row above shows."""
    headline: tuple[Card, ...]
    """The most important, of the best known extractor."""
    unofficial: bool
    """Whether distances were computed with features other than the published Inception's."""
    official: bool
    """Whether there are numbers that papers' numbers may be held against."""


def metric_table(
    metrics: Mapping[str, float | None], protocol: Mapping[str, Mapping[str, Any]]
) -> MetricTable:
    """Sorts `metrics.json` into rows; every number appears once."""
    used: set[str] = set()
    rows = []
    extractors = _extractors(metrics, protocol)
    for suffix, extractor in extractors.items():
        for kind in KINDS:
            if metrics.get(_key(kind.stem, suffix, metrics)) is not None:
                rows.append(_row(kind, suffix, extractor, metrics, protocol, used))
    suffixes = [s for s in extractors if any(r.key == f"fid{s}" for r in rows)]
    foreign = [s for s in extractors if any(r.key == f"fd{s}" for r in rows)]
    if metrics.get(DIVERSITY.stem) is not None:
        rows.append(_row(DIVERSITY, OFFICIAL, "pixels", metrics, protocol, used))
    others = tuple(
        _plain_row(key, value, protocol)
        for key, value in metrics.items()
        if key not in used and value is not None
    )
    keys = [f"{stem}{s}" for stem in ("fid", "is_mean") for s in suffixes[:1]]
    keys += [f"accuracy{s}" for s in extractors] + [DIVERSITY.stem]
    by_key = {row.key: row for row in rows}
    return MetricTable(
        rows=tuple(rows),
        others=others,
        headline=tuple(
            Card(row=by_key[key], beside=_beside(by_key[key], by_key.get(f"matched_{key}")))
            for key in keys
            if key in by_key
        ),
        unofficial=any(s != OFFICIAL for s in [*suffixes, *foreign]),
        official=OFFICIAL in suffixes,
    )


def _extractors(
    metrics: Mapping[str, float | None], protocol: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Names of extractors by the suffix of their keys, the known ones first."""
    found = dict(EXTRACTORS)
    for key in metrics:
        match = _SUFFIX.fullmatch(key)
        if match is not None and match["suffix"] not in found:
            name = protocol.get(key, {}).get("extractor")
            found[match["suffix"]] = name if isinstance(name, str) else match["suffix"].strip("_")
    return found


def _key(stem: str, suffix: str, metrics: Mapping[str, float | None]) -> str:
    """The key of a metric; distances of most extractors are called `fd`."""
    key = stem + suffix
    return key if key in metrics else re.sub(r"(?<![a-z])fid(?![a-z])", "fd", stem) + suffix


def _row(
    kind: Kind,
    suffix: str,
    extractor: str,
    metrics: Mapping[str, float | None],
    protocol: Mapping[str, Mapping[str, Any]],
    used: set[str],
) -> Row:
    key = _key(kind.stem, suffix, metrics)
    # The baseline has its own number of images, which the matched distance shares.
    is_matched = f"matched_{kind.stem}" in _STEMS and metrics.get(f"matched_{key}") is not None
    has_reference = kind.reference and not is_matched
    reference_key = _key(kind.reference, suffix, metrics) if has_reference else ""

    def show(key: str) -> Figure | None:
        ends = tuple(f"{key}_ci95_{end}" for end in ("low", "high"))
        value, std, low, high = (metrics.get(k) for k in (key, _std_key(key), *ends))
        used.update((key, *ends))
        if value is None:
            return None
        if low is not None and high is not None:
            if kind.is_share:
                return Figure(percent(value), f"[{percent(low)}, {percent(high)}]")
            return Figure(*with_interval(value, low, high))
        if kind.is_share:
            return Figure(percent(value))
        if std is not None:
            used.add(_std_key(key))
            shown, std_shown = with_std(value, std)
            return Figure(shown, f"\N{PLUS-MINUS SIGN} {std_shown}")
        return Figure(significant(value))

    ema = show(key)
    assert ema is not None
    return Row(
        key=key,
        title=kind.title if key.startswith(kind.stem) else kind.title.replace("FID", "FD"),
        extractor=extractor,
        better=kind.better,
        meaning=kind.meaning,
        ema=ema,
        raw=show(f"{key}_raw"),
        reference=Figure("1") if kind is DIVERSITY else show(reference_key),
        reference_name=kind.reference_name,
        protocol=_flat(protocol.get(key, {})),
    )


def _beside(row: Row, matched: Row | None) -> tuple[tuple[str, Figure], ...]:
    against = row if matched is None else matched
    beside = [] if matched is None else [("matched", matched.ema)]
    if against.reference is not None:
        beside.append((against.reference_name, against.reference))
    if row.raw is not None:
        beside.append(("raw", row.raw))
    return tuple(beside)


def _std_key(key: str) -> str:
    return key.replace("_mean", "_std", 1) if "_mean" in key else f"{key}_std"


def _plain_row(key: str, value: float, protocol: Mapping[str, Mapping[str, Any]]) -> Row:
    return Row(
        key=key,
        title=key,
        extractor="",
        better="",
        meaning="",
        ema=Figure(significant(value, 4)),
        raw=None,
        reference=None,
        reference_name="",
        protocol=_flat(protocol.get(key, {})),
    )


def _flat(content: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    items: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{key}".replace("_", " ")
        if value is None:
            continue  # it has no part in this number
        if key == "by_class" and isinstance(value, Mapping):
            items.append((name, _by_class(value)))
        elif isinstance(value, Mapping):
            items += _flat(value, f"{name} ")
        elif isinstance(value, bool):
            items.append((name, "yes" if value else "no"))
        elif isinstance(value, int) and value >= 1000 and key != "seed":
            items.append((name, f"{value:,}"))
        elif isinstance(value, list) and any(isinstance(each, float) for each in value):
            items.append((name, ", ".join(significant(each, 4) for each in value)))
        else:
            items.append((name, value if isinstance(value, str) else json.dumps(value)))
    return tuple(items)


def _by_class(values: Mapping[str, float | None]) -> str:
    """All classes in their order, or of many the ends of their order by value."""
    known = [(name, value) for name, value in values.items() if value is not None]

    def shown(part: list[tuple[str, float]]) -> str:
        return ", ".join(f"{name} {significant(value)}" for name, value in part)

    if len(known) <= _MOST_CLASSES:
        return shown(known)
    known.sort(key=lambda pair: pair[1])
    half = _MOST_CLASSES // 2
    return f"{shown(known[:half])}, ..., {shown(known[-half:])}"

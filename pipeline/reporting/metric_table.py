"""Flat metrics and their protocols as the rows of a table that says what each number means."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.reporting.numbers import percent, significant, with_spread

OFFICIAL = ""  # the suffix of the published Inception weights is none
_EXTRACTORS = {OFFICIAL: "Inception-v3 (published weights)", "_dataset_cnn": "dataset-cnn"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A metric, whatever extractor it is computed with."""

    stem: str
    title: str
    better: Literal["lower", "higher", "near 1"]
    reference: str
    """Key, without the extractor's suffix, of the number to hold it against."""
    reference_name: str
    meaning: str
    is_share: bool = False


KINDS = (
    Kind(
        stem="fid",
        title="FID",
        better="lower",
        reference="floor_fid",
        reference_name="floor",
        meaning="Frechet distance between the features of generated and real training images.",
    ),
    Kind(
        stem="fid_infinity",
        title="FID, unbiased",
        better="lower",
        reference="floor_fid_infinity",
        reference_name="floor",
        meaning="FID extrapolated to infinitely many samples.",
    ),
    Kind(
        stem="intra_fid",
        title="Intra FID",
        better="lower",
        reference="floor_intra_fid",
        reference_name="floor",
        meaning="Mean over the classes of the FID within each.",
    ),
    Kind(
        stem="kid_mean",
        title="KID",
        better="lower",
        reference="floor_kid_mean",
        reference_name="floor",
        meaning="Kernel distance between the same features; unbiased, so it can be below zero.",
    ),
    Kind(
        stem="is_mean",
        title="Inception score",
        better="higher",
        reference="real_is_mean",
        reference_name="real images",
        meaning="High when each image is surely of one class and all classes occur; "
        "blind to variety within a class.",
    ),
    Kind(
        stem="accuracy",
        title="Class accuracy",
        better="higher",
        reference="heldout_accuracy",
        reference_name="real held-out images",
        meaning="Share of generated images that the extractor's classifier, trained on real ones "
        "alone, takes for the class that was asked for.",
        is_share=True,
    ),
    Kind(
        stem="precision",
        title="Precision",
        better="higher",
        reference="floor_precision",
        reference_name="real held-out images",
        meaning="Share of generated images that lie among the real ones.",
        is_share=True,
    ),
    Kind(
        stem="recall",
        title="Recall",
        better="higher",
        reference="floor_recall",
        reference_name="real held-out images",
        meaning="Share of real images that lie among the generated ones.",
        is_share=True,
    ),
)
DIVERSITY = Kind(
    stem="within_class_std_ratio",
    title="Variety within a class",
    better="near 1",
    reference="",
    reference_name="real images",
    meaning="Spread of the 8x8-averaged pixels within a class, over that of the real images; "
    "towards 0 a class has collapsed to one picture.",
)


@dataclass(frozen=True)
class Figure:
    """A number as it is shown."""

    value: str
    spread: str = ""
    """What stands behind it, smaller: a deviation or an interval."""


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
    """(what, value) of how it was measured."""


@dataclass(frozen=True, kw_only=True)
class MetricTable:
    """All the numbers of an evaluation."""

    rows: tuple[Row, ...]
    others: tuple[Row, ...]
    """Numbers that no row above shows."""
    headline: tuple[Row, ...]
    """The few that sum it up, of the best known extractor."""
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
    for suffix, extractor in _EXTRACTORS.items():
        for kind in KINDS:
            if metrics.get(kind.stem + suffix) is not None:
                rows.append(_row(kind, suffix, extractor, metrics, protocol, used))
    suffixes = [s for s in _EXTRACTORS if any(r.key == f"fid{s}" for r in rows)]
    if metrics.get(DIVERSITY.stem) is not None:
        rows.append(_row(DIVERSITY, OFFICIAL, "pixels", metrics, protocol, used))
    others = tuple(
        _plain_row(key, value, protocol)
        for key, value in metrics.items()
        if key not in used and value is not None
    )
    keys = [f"{stem}{s}" for stem in ("fid", "is_mean") for s in suffixes[:1]]
    keys += [f"accuracy{s}" for s in _EXTRACTORS] + [DIVERSITY.stem]
    by_key = {row.key: row for row in rows}
    return MetricTable(
        rows=tuple(rows),
        others=others,
        headline=tuple(by_key[key] for key in keys if key in by_key),
        unofficial=any(s != OFFICIAL for s in suffixes),
        official=OFFICIAL in suffixes,
    )


def _row(
    kind: Kind,
    suffix: str,
    extractor: str,
    metrics: Mapping[str, float | None],
    protocol: Mapping[str, Mapping[str, Any]],
    used: set[str],
) -> Row:
    key = kind.stem + suffix
    reference_key = kind.reference + suffix

    def show(key: str) -> Figure | None:
        keys = (key, _spread_key(key), f"{key}_ci95_low", f"{key}_ci95_high")
        value, spread, low, high = (metrics.get(key) for key in keys)
        used.update(keys)
        if value is None:
            return None
        if kind.is_share:
            return Figure(percent(value))
        if spread is not None:
            shown, spread_shown = with_spread(value, spread)
            return Figure(shown, f"\N{PLUS-MINUS SIGN} {spread_shown}")
        if low is not None and high is not None:
            return Figure(significant(value), f"[{significant(low)}, {significant(high)}]")
        return Figure(significant(value))

    ema = show(key)
    assert ema is not None
    return Row(
        key=key,
        title=kind.title,
        extractor=extractor,
        better=kind.better,
        meaning=kind.meaning,
        ema=ema,
        raw=show(f"{key}_raw"),
        reference=Figure("1") if kind is DIVERSITY else show(reference_key),
        reference_name=kind.reference_name,
        protocol=_flat(protocol.get(key, {})),
    )


def _spread_key(key: str) -> str:
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
        if isinstance(value, Mapping):
            items += _flat(value, f"{name} ")
        elif isinstance(value, bool) or value is None:
            items.append((name, {True: "yes", False: "no", None: "none"}[value]))
        elif isinstance(value, int) and value >= 1000 and key != "seed":
            items.append((name, f"{value:,}"))
        else:
            items.append((name, value if isinstance(value, str) else json.dumps(value)))
    return tuple(items)

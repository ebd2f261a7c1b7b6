"""Whether a number of ours may be compared with a published one.

Two numbers compare when both were measured in the same way: same images at the same size, same
features, same number of samples, same split of the data. Ours is checked by its entry in
`protocol.json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.extractors import INCEPTION
from pipeline.data.shards.manifest import Manifest
from pipeline.reporting.published import PublishedProtocol, PublishedRow

REAL_SHARE = 0.9
"""Least share of the published number of real images; the rest may be held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OurProtocol:
    """The protocol of one of our numbers."""

    name: str
    """Of the data set, for people."""
    data: frozenset[str]
    """All names that it goes by."""
    resolution: int
    num_classes: int
    entry: Mapping[str, Any]
    """Of `protocol.json`."""


def our_protocol(entry: Mapping[str, Any], manifest: Manifest) -> OurProtocol:
    """Of a number's entry in `protocol.json` and the data set's manifest."""
    names = {str(manifest.source.get("kind", "")), manifest.name.lower().replace("_", "-")}
    return OurProtocol(
        name=manifest.name,
        data=frozenset(names),
        resolution=manifest.resolution,
        num_classes=len(manifest.class_names),
        entry=entry,
    )


def comparable(row: PublishedRow, metric: str, ours: OurProtocol | None) -> str | None:
    """Why our number, measured as `ours` says, is not comparable with the row's; None if it is.

    `ours` is None where there is no such number. Each part of the sentence says what is theirs and
    what is ours.
    """
    theirs = row.protocol
    if ours is None:
        return "we have no such number"
    entry = ours.entry
    checks = [
        (theirs.data in ours.data, theirs.data, ours.name),
        (theirs.num_classes == ours.num_classes, *_classes(theirs.num_classes, ours.num_classes)),
        (theirs.resolution == ours.resolution, *_pixels(theirs.resolution, ours.resolution)),
        (
            theirs.extractor == entry.get("extractor") and entry.get("weights_official") is True,
            f"features of {theirs.extractor} with the published weights",
            _extractor(entry),
        ),
        (theirs.weights == entry.get("weights"), f"{theirs.weights} weights", entry.get("weights")),
        _classwise(theirs, entry)
        if metric == "intra_fid"
        else _count("generated images", theirs.num_generated, entry.get("num_generated")),
        *(_score_checks(theirs, entry) if metric.startswith("is_") else _real(theirs, entry)),
    ]
    return "; ".join(f"{a}, not {b}" for same, a, b in checks if not same) or None


def remark(row: PublishedRow, metric: str, ours: OurProtocol) -> str | None:
    """A difference between numbers that are comparable; None without one."""
    num_real, theirs = ours.entry.get("num_real"), row.protocol.num_real
    if metric.startswith("is_") or theirs is None or num_real == theirs:
        return None
    return f"{theirs:,} real images, ours {num_real:,}"


_Check = tuple[bool, str, Any]


def _score_checks(theirs: PublishedProtocol, entry: Mapping[str, Any]) -> list[_Check]:
    way, splits = theirs.is_resize or "TensorFlow's resizing", entry.get("splits")
    return [
        (
            theirs.is_splits is not None and theirs.is_splits == splits,
            f"IS splits {_number(theirs.is_splits, 'unknown')}",
            _number(splits, "unknown"),
        ),
        (theirs.is_resize is None, f"{way} in front of Inception", "TensorFlow's"),
    ]


def _real(theirs: PublishedProtocol, entry: Mapping[str, Any]) -> list[_Check]:
    split, num_real = entry.get("reference_split"), entry.get("num_real")
    same_split = theirs.split is not None and theirs.split == split
    enough = (
        theirs.num_real is not None
        and isinstance(num_real, int)
        and num_real >= REAL_SHARE * theirs.num_real
    )
    return [
        (same_split, f"against {theirs.split or 'unknown'} images", split),
        (enough, f"{_number(theirs.num_real)} real images", _number(num_real)),
    ]


def _classwise(theirs: PublishedProtocol, entry: Mapping[str, Any]) -> _Check:
    ours = f"{entry.get('preset')}{', of which some fall short' if entry.get('shortfall') else ''}"
    same = theirs.intra_fid is not None and theirs.intra_fid == ours
    return same, f"{theirs.intra_fid or 'unknown'} counts within a class", ours


def _count(what: str, theirs: int | None, ours: Any) -> _Check:
    return theirs is not None and theirs == ours, f"{_number(theirs)} {what}", _number(ours)


def _number(count: Any, unknown: str = "an unknown number of") -> str:
    return f"{count:,}" if isinstance(count, int) else unknown


def _classes(theirs: int, ours: int) -> tuple[str, str]:
    return f"{theirs:,} classes", f"{ours:,}"


def _pixels(theirs: int, ours: int) -> tuple[str, str]:
    return f"{theirs}x{theirs} pixels", f"{ours}x{ours}"


def _extractor(entry: Mapping[str, Any]) -> str:
    extractor = entry.get("extractor")
    return "with other weights" if extractor == INCEPTION else f"of {extractor}"

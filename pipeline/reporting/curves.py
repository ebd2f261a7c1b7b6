"""Training curves: sorted into charts for the page, and whole as CSV for `dvc plots`."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.tracking.jsonl import MetricsRecord

_MAX_POINTS = 400  # in a chart; more would not be seen


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve; nan where there is no value."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over one axis of thousands of images."""

    title: str
    note: str
    kimg: tuple[float, ...]
    series: tuple[Series, ...]


# Prefix of the metrics' names, title, what to see in it.
_CHARTS = (
    ("loss/", "Losses", "What D and G minimise, and its parts; means between two reports."),
    (
        "logits/",
        "Logits of D",
        "Mean output of D for real and for generated images; the nearer, the harder to tell apart.",
    ),
    (
        "attention/",
        "Attention's share",
        "The learnt factor of each attention block; it starts at 0, where the block does nothing.",
    ),
    (
        "residual/",
        "Residual blocks' share",
        "The learnt factor of each residual block in attention's place; it starts at 0.",
    ),
    (
        "pixel_std/",
        "Variety",
        "Standard deviation of pixels over a batch; a generator that makes one image has none.",
    ),
    ("throughput/", "Throughput", "Real images that D sees in a second."),
)
_ON_THE_WAY = re.compile(r"fi?d2k(_|$)")  # a chart each: no two extractors share a scale
_ON_THE_WAY_NOTE = (
    "Frechet distance of 2,000 generated images, always the same latents, to the training split; "
    "so few make it larger, so it compares with itself alone."
)
_ALARMS = ("collapse/detected",)  # worth a chart only once they went off
_NAMES = {
    "loss/d": "D",
    "loss/g": "G",
    "loss/d_class_real": "D, classes of real",
    "loss/d_class_fake": "D, classes of generated",
    "loss/g_class": "G, classes",
    "loss/gradient_penalty": "gradient penalty",
    "pixel_std/real": "real",
    "pixel_std/fake": "generated",
    "logits/real": "real",
    "logits/fake": "generated",
    "throughput/images_per_s": "images/s",
}


def charts(statuses: Sequence[MetricsRecord]) -> tuple[Chart, ...]:
    """A chart for each group of metrics that occurs; long runs are thinned to means."""
    names = [
        name for name in _names(statuses) if name not in _ALARMS or any(_values(statuses, name))
    ]
    groups = [
        (f"Distance on the way: {name}", _ON_THE_WAY_NOTE, [name])
        for name in names
        if _ON_THE_WAY.match(name)
    ]
    groups += [(title, note, [n for n in names if n.startswith(p)]) for p, title, note in _CHARTS]
    known = {name for _, _, members in groups for name in members}
    groups.append(("Other", "", [name for name in names if name not in known]))
    return tuple(
        _chart(title, note, members, statuses) for title, note, members in groups if members
    )


def _chart(
    title: str, note: str, members: Sequence[str], statuses: Sequence[MetricsRecord]
) -> Chart:
    # Some metrics come with few of the statuses: between those that have any is no gap.
    shown = [s for s in statuses if any(name in s.metrics for name in members)]
    stride = -(-len(shown) // _MAX_POINTS)
    return Chart(
        title=title,
        note=note,
        kimg=tuple(_thinned([status.nimg / 1000 for status in shown], stride)),
        series=tuple(
            Series(name=_readable(name), values=tuple(_thinned(_values(shown, name), stride)))
            for name in members
        ),
    )


def curves_csv(statuses: Sequence[MetricsRecord]) -> str:
    """All statuses: a column `kimg`, then one for each metric, empty where it has no value."""
    names = _names(statuses)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kimg", *names])
    for status in statuses:
        values = [status.metrics.get(name, math.nan) for name in names]
        writer.writerow([status.nimg / 1000, *(v if math.isfinite(v) else "" for v in values)])
    return text.getvalue()


def _names(statuses: Sequence[MetricsRecord]) -> list[str]:
    return sorted({name for status in statuses for name in status.metrics})


def _values(statuses: Sequence[MetricsRecord], name: str) -> list[float]:
    return [status.metrics.get(name, math.nan) for status in statuses]


def _thinned(values: list[float], stride: int) -> list[float]:
    means = []
    for start in range(0, len(values), stride):
        finite = [value for value in values[start : start + stride] if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def _readable(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith(("attention/", "residual/")) and "_gamma_" in name:
        network, _, size = name.partition("/")[2].partition("_gamma_")
        return f"{network.upper()} at {size}x{size}"
    return name

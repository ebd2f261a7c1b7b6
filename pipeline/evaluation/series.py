"""FID over a run's snapshots: all are scored on one seed, and the best is reported on another.

The lowest of many noisy numbers is too low; so the images that choose a snapshot do not report it.
`series.json` keeps the points, with a CSV of their curve beside it.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config.schema import EvaluateSection
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.evaluate import (
    check_num_samples,
    common_protocol,
    measure_model,
    open_snapshot,
)
from pipeline.evaluation.executor import ParallelExecutor, exact_arithmetic
from pipeline.evaluation.extraction import extract_generated
from pipeline.evaluation.extractors.extractor import Extractor, metric_key
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.fid import fid
from pipeline.evaluation.metrics.frechet import FID_FORMULA
from pipeline.evaluation.reference.folder import open_references
from pipeline.evaluation.reference.statistics import ReferenceStatistics
from pipeline.evaluation.sampling import draw
from pipeline.storage.atomic import write_json, write_text
from pipeline.storage.digest import digest_json, sha256_file
from pipeline.training.generator import SnapshotGenerator, load_generator

FORMAT = "sagan-lab/series/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One snapshot under the selection's protocol."""

    nimg: int
    """Real images that D had seen."""
    file: str
    """Its path."""
    sha256: str
    """Of the file."""
    run_key: str
    """Of the run that wrote it."""
    weights: str
    """EMA or raw."""
    metrics: Mapping[str, float]
    """FID by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """The best snapshot under the reporting protocol."""

    sha256: str
    """Of the snapshot's file."""
    key: str
    """Digest of the settings and the reference statistics."""
    metrics: Mapping[str, float]
    """By key."""
    protocol: Mapping[str, Mapping[str, Any]]
    """By the same keys."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Content of `series.json`."""

    protocol: Mapping[str, Mapping[str, Any]]
    """Of the points' metrics; the first one chose the best."""
    points: Sequence[Point]
    """By nimg."""
    best: Point
    """The point that is lowest by the first metric."""
    reported: Reported
    """The same snapshot on other samples."""

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": FORMAT,
            "selected_by": next(iter(self.protocol)),
            "protocol": dict(self.protocol),
            "points": [asdict(point) for point in self.points],
            "best": asdict(self.best),
            "reported": asdict(self.reported),
        }


def score_series(
    snapshots: Sequence[Path],
    reference_dir: Path,
    manifest: Manifest,
    out: Path,
    *,
    extractors: Sequence[str],
    sources: WeightSources,
    settings: EvaluateSection,
    device: str,
    executor: ParallelExecutor | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Series | None:
    """Writes `out`, JSON, and a CSV beside it after every snapshot; returns what they hold.

    Snapshots that `out` holds already, scored in the same way, are not scored again; `on_point` is
    called with each that was scored now. A collective; the main process writes, and the others
    return nothing. Raises UserError for snapshots of another data set, before any is scored.
    """
    executor = executor or ParallelExecutor.on(device)
    context = executor.context
    with context.raise_on_all():
        check_num_samples("evaluate.num_samples", settings.num_samples, manifest)
        check_num_samples("evaluate.selection_samples", settings.num_selection_samples, manifest)
        metadata = {path: open_snapshot(path, manifest, "cpu").metadata for path in snapshots}
        hashes = {path: sha256_file(path) for path in snapshots}
        networks, references = open_references(
            reference_dir, manifest, extractors, sources, device, executor
        )
        protocol = _selection_protocol(manifest, networks, settings)
        report_key = digest_json([settings.model_dump(), protocol])
    context.agree({path.name: sha for path, sha in hashes.items()}, "list of snapshots")
    references = [each.with_baseline(settings.num_samples) for each in references]
    file = SeriesFile(out, protocol) if context.is_main else None
    in_order = sorted(snapshots, key=lambda path: (metadata[path]["nimg"], path.name))
    points: list[Point] = []
    with exact_arithmetic():
        for path in in_order:
            point = context.from_main(None if file is None else file.find(hashes[path]))
            if point is None:
                G = load_generator(path, device)
                point = Point(
                    nimg=G.metadata["nimg"],
                    file=str(path),
                    sha256=hashes[path],
                    run_key=G.metadata["run_key"],
                    weights="EMA" if G.metadata["ema"] else "raw",
                    metrics=_distances(G, networks, references, settings, executor),
                )
                if file is not None:
                    file.add(point)
                    on_point(point)
            points.append(point)
        chosen_by = next(iter(protocol))
        best = context.from_main(_best(points, chosen_by) if context.is_main else 0)
        reported = context.from_main(
            None if file is None else file.reported(hashes[in_order[best]], report_key)
        )
        if reported is None:
            G = load_generator(in_order[best], device)
            results = MetricResults(common_protocol(manifest, settings.num_samples, settings.seed))
            measure_model(results, G, networks, references, settings, executor)
            reported = Reported(
                sha256=hashes[in_order[best]],
                key=report_key,
                metrics=results.values,
                protocol=results.protocols,
            )
    if file is None:
        return None
    return file.finish(points, points[best], reported)


def _selection_protocol(
    manifest: Manifest, extractors: Sequence[Extractor], settings: EvaluateSection
) -> dict[str, dict[str, Any]]:
    """Protocol of each key; the first one chooses."""
    common = common_protocol(manifest, settings.num_selection_samples, settings.selection_seed)
    return {
        metric_key("fid", extractor.name, extractor.official): {
            **common,
            **extractor.describe(),
            "num_generated": settings.num_selection_samples,
            "num_real": manifest.splits["train"].rows,
            "formula": FID_FORMULA,
        }
        for extractor in extractors
    }


def _distances(
    G: SnapshotGenerator,
    extractors: Sequence[Extractor],
    references: Sequence[ReferenceStatistics],
    settings: EvaluateSection,
    executor: ParallelExecutor,
) -> dict[str, float]:
    inputs = draw(settings.selection_seed, settings.num_selection_samples, G.z_dim, G.num_classes)
    extraction = extract_generated(G, inputs, extractors, executor, G.name)
    return {
        reference.key("fid"): fid(statistics, reference.normal)
        for reference, statistics in zip(references, extraction.statistics, strict=True)
    }


def _best(points: Sequence[Point], key: str) -> int:
    return min(range(len(points)), key=lambda index: points[index].metrics[key])


class SeriesFile:
    """`series.json` as it grows; points that it held under the same protocol are reused."""

    def __init__(self, path: Path, protocol: Mapping[str, Mapping[str, Any]]) -> None:
        self._path = path
        self._protocol = protocol
        self._points: dict[str, Point] = {}
        self._reported: Reported | None = None
        self._read()

    def find(self, sha256: str) -> Point | None:
        """The point of a snapshot's file, if it was scored before."""
        return self._points.get(sha256)

    def reported(self, sha256: str, key: str) -> Reported | None:
        """The report of a snapshot's file, if it was made before under the same settings."""
        found = self._reported
        return found if found is not None and (found.sha256, found.key) == (sha256, key) else None

    def add(self, point: Point) -> None:
        """Adds a new point, on disk as well."""
        self._points[point.sha256] = point
        content = {
            "format": FORMAT,
            "protocol": dict(self._protocol),
            "points": [asdict(each) for each in self._points.values()],
            "reported": None if self._reported is None else asdict(self._reported),
        }
        write_json(self._path, content)

    def finish(self, points: Sequence[Point], best: Point, reported: Reported) -> Series:
        """Writes the whole series: these points alone, by nimg."""
        series = Series(protocol=self._protocol, points=points, best=best, reported=reported)
        write_text(self._path.with_suffix(".csv"), _table(series))
        write_json(self._path, series.as_json())
        return series

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._warn(str(error))
            return
        try:
            # JSON has no order of keys to compare, and no tuples.
            same = json.loads(json.dumps(self._protocol)) == content["protocol"]
            if content["format"] != FORMAT or not same:
                return
            self._points = {each["sha256"]: Point(**each) for each in content["points"]}
            if content["reported"] is not None:
                self._reported = Reported(**content["reported"])
        except (KeyError, TypeError, AttributeError) as error:
            self._points = {}
            self._warn(repr(error))

    def _warn(self, reason: str) -> None:
        print(f"warning: {self._path} is damaged ({reason}); made anew", file=sys.stderr)


def _table(series: Series) -> str:
    keys = list(series.protocol)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kimg", *keys])
    for point in series.points:
        writer.writerow([point.nimg / 1000, *(point.metrics[key] for key in keys)])
    return text.getvalue()

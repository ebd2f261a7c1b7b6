"""FID over a run's snapshots: all are scored on one seed, and the best is reported on another.

The lowest of many noisy numbers is too low; so the images that choose a snapshot do not report it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.schema import EvaluateSection
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.class_draws import draw_by_class
from pipeline.evaluation.evaluate import (
    check_num_samples,
    common_protocol,
    describe_model,
    measure_model,
)
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.metrics.frechet import FID_FORMULA
from pipeline.evaluation.opened import RealSide, open_real_side, open_snapshot
from pipeline.evaluation.passes import pass_over_generated
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.sampling import draw
from pipeline.evaluation.series_file import Point, Reported, Series, SeriesFile
from pipeline.storage.digest import digest_json, sha256_file
from pipeline.training.generator import SnapshotGenerator, load_generator

OnPoint = Callable[[Point], None]
"""Hears of every snapshot that was scored now, and of none that had been before."""


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
    on_point: OnPoint = lambda point: None,
) -> Series | None:
    """Writes `out`, JSON, and a CSV beside it after every snapshot; returns what they hold.

    Snapshots that `out` holds already, scored in the same way, are not scored again. A collective
    of the crew; the main process writes, and the others return nothing. Raises UserError for
    snapshots of another data set, before any is scored.
    """
    executor = executor or ParallelExecutor.on(device)
    context = executor.context
    with context.raise_on_all():
        check_num_samples("evaluate.num_samples", settings.num_samples, manifest)
        check_num_samples("evaluate.selection_samples", settings.num_selection_samples, manifest)
        facts_of = {path: open_snapshot(path, manifest, "cpu").metadata for path in snapshots}
        hashes = {path: sha256_file(path) for path in snapshots}
        real = open_real_side(reference_dir, manifest, extractors, sources, device, executor)
        protocol = _selection_protocol(manifest, real, settings)
        report_key = digest_json([settings.model_dump(), protocol])
    context.agree({path.name: sha for path, sha in hashes.items()}, "list of snapshots")
    facts = [RealFacts.of(r, settings.num_samples, manifest.class_names) for r in real.references]
    file = SeriesFile(out, protocol) if context.is_main else None
    in_order = sorted(snapshots, key=lambda path: (facts_of[path]["nimg"], path.name))
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
                    metrics=_distances(G, real, facts, settings, executor),
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
            measurements = _report(G, real, facts, manifest, settings, executor)
            reported = Reported(
                sha256=hashes[in_order[best]],
                key=report_key,
                metrics=measurements.values,
                protocol=measurements.protocols,
            )
    if file is None:
        return None
    return file.finish(points, points[best], reported)


def _selection_protocol(
    manifest: Manifest, real: RealSide, settings: EvaluateSection
) -> dict[str, dict[str, Any]]:
    """How the number of each key is measured; the first one chooses."""
    common = common_protocol(manifest, settings.num_selection_samples, settings.selection_seed)
    return {
        metric_key("fid", extractor.name, extractor.official): {
            **common,
            **extractor.describe(),
            "num_generated": settings.num_selection_samples,
            "num_real": manifest.splits["train"].rows,
            "formula": FID_FORMULA,
        }
        for extractor in real.extractors
    }


def _distances(
    G: SnapshotGenerator,
    real: RealSide,
    facts: Sequence[RealFacts],
    settings: EvaluateSection,
    executor: ParallelExecutor,
) -> dict[str, float]:
    inputs = draw(settings.selection_seed, settings.num_selection_samples, G.z_dim, G.num_classes)
    found = pass_over_generated(G, inputs, real.extractors, executor, G.name)
    return {
        known.key("fid"): known.distance(images)
        for known, images in zip(facts, found.collected, strict=True)
    }


def _best(points: Sequence[Point], key: str) -> int:
    return min(range(len(points)), key=lambda index: points[index].metrics[key])


def _report(
    G: SnapshotGenerator,
    real: RealSide,
    facts: Sequence[RealFacts],
    manifest: Manifest,
    settings: EvaluateSection,
    executor: ParallelExecutor,
) -> Measurements:
    """All metrics of one snapshot on the reporting seed; empty but on the main process."""
    measurements = Measurements(common_protocol(manifest, settings.num_samples, settings.seed))
    inputs = draw(settings.seed, settings.num_samples, G.z_dim, G.num_classes)
    found = pass_over_generated(G, inputs, real.extractors, executor, G.name)
    drawn = draw_by_class(G, real.extractors, facts, settings, executor)
    with executor.context.raise_on_all():
        if executor.context.is_main:
            entry = describe_model(G)
            measure_model(measurements, found, real, facts, settings, entry, "", drawn=drawn)
    return measurements

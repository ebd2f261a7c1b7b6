"""The stage `evaluate`: metrics of the exported model, of several snapshots, or of any images."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config.extractors import check_extractors
from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest, read_manifest
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.distributed.stopping import stop_reason
from pipeline.evaluation.evaluate import CONFIG_FILE, EvaluationFiles, evaluate_model
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.external.score import Scored, score_images
from pipeline.evaluation.extractors.weights import DOWNLOAD, weight_sources
from pipeline.evaluation.metric_results import lines
from pipeline.evaluation.samples import GRID_FILE
from pipeline.evaluation.series import Point, Series, score_series
from pipeline.runs.snapshot_search import find_snapshots
from pipeline.tracking.connection import resolve_uri
from pipeline.tracking.finished_run import FinishedRun, open_run


@dataclass(frozen=True, kw_only=True)
class EvaluatePaths:
    """Paths that all modes of the stage read."""

    model: Path
    """Folder of the exported model."""
    reference: Path
    """Folder of the reference statistics."""
    shards: Path
    """Folder of the shards."""
    as_json: bool = False
    """Whether to print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class ModelPaths(EvaluatePaths):
    """Paths of an evaluation of the exported model."""

    files: EvaluationFiles


@dataclass(frozen=True, kw_only=True)
class SeriesPaths(EvaluatePaths):
    """Paths of an evaluation of several snapshots."""

    snapshots: str
    """A file, a folder of them, or `all`: those of the exported model's run."""
    out: Path
    """JSON file to write; a CSV of the same name is written beside it."""


def evaluate_in_group(
    params: Params,
    paths: ModelPaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
) -> None:
    """Evaluates the model on `device` together with the other processes. A collective.

    The main one writes, prints and logs to MLflow. `should_stop` returns a reason to stop early,
    in place of this process's signals.
    """
    keep_freed_memory()
    with stop_reason(should_stop) as reason:
        metrics = evaluate_model(
            paths.model,
            paths.reference,
            _open_manifest(params, paths.shards, context),
            paths.files,
            extractors=params.reference.extractors,
            sources=weight_sources(params.reference, params.runtime.cache_dir),
            settings=params.evaluate,
            device=device,
            executor=ParallelExecutor.on(device, context, reason),
        )
        if not context.is_main:
            return
        if paths.as_json:
            protocol = json.loads(paths.files.protocol.read_text(encoding="utf-8"))
            print(json.dumps({"metrics": metrics, "protocol": protocol}))
        else:
            print(*lines(metrics), sep="\n")
        _open_run(params, paths.model).log_evaluation(
            metrics,
            files=[paths.files.protocol],
            images={"class_grid": paths.files.samples / GRID_FILE},
        )


def score_series_in_group(
    params: Params,
    paths: SeriesPaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
) -> None:
    """Scores the snapshots as `evaluate_in_group` evaluates the model. A collective."""
    keep_freed_memory()
    with stop_reason(should_stop) as reason:
        manifest = _open_manifest(params, paths.shards, context)
        with context.raise_on_all():
            snapshots = find_snapshots(paths.snapshots, paths.model, Path(params.runtime.runs_dir))
        fresh: list[Point] = []

        def on_point(point: Point) -> None:
            fresh.append(point)
            if not paths.as_json:
                values = ", ".join(f"{key} {value:.4f}" for key, value in point.metrics.items())
                print(f"{point.nimg / 1000:10.1f} kimg  {values}", flush=True)

        series = score_series(
            snapshots,
            paths.reference,
            manifest,
            paths.out,
            extractors=params.reference.extractors,
            sources=weight_sources(params.reference, params.runtime.cache_dir),
            settings=params.evaluate,
            device=device,
            executor=ParallelExecutor.on(device, context, reason),
            on_point=on_point,
        )
        if series is None:
            return
        if paths.as_json:
            print(json.dumps(series.as_json()))
        else:
            _print_best(series, len(series.points) - len(fresh), paths.out)
        if (paths.model / CONFIG_FILE).exists():
            run = _open_run(params, paths.model)
            run.log_series({p.nimg: p.metrics for p in fresh if p.run_key == run.run_key})


def evaluate_images(
    params: Params,
    images: str,
    *,
    against: str | None,
    shards: Path,
    reference: Path,
    extractors: Sequence[str] | None,
    resize: int | None,
    outputs: tuple[Path, Path] | None,
    as_json: bool,
) -> None:
    """Scores the images at `images` in this process, and prints the metrics.

    `extractors` take the place of `reference.extractors`. `outputs` are files for metrics and
    protocol; without them nothing is written. Raises UserError for images that do not compare.
    """
    try:
        check_extractors(extractors or params.reference.extractors)
    except ValueError as error:
        raise UserError(f"--extractor: {error}") from None
    weights = params.reference
    if weights.inception_weights is None and extractors is not None:
        weights = weights.model_copy(update={"inception_weights": DOWNLOAD})
    with TemporaryDirectory(prefix="sagan-images-") as scratch:
        scored = score_images(
            images,
            against=against,
            shards=shards,
            reference_dir=reference,
            extractors=extractors or params.reference.extractors,
            sources=weight_sources(weights, params.runtime.cache_dir),
            settings=params.evaluate,
            resize=resize,
            scratch=Path(scratch),
            device=choose_device(params.runtime.device, params.runtime.num_threads),
        )
    if outputs is not None:
        scored.results.write(*outputs)
    _print_scored(scored, as_json)


def _open_manifest(params: Params, shards: Path, context: DistContext) -> Manifest:
    """The shards' manifest; a mistyped address of MLflow is refused as well, before the work."""
    with context.raise_on_all():
        if params.runtime.tracker == "mlflow":
            resolve_uri(params.runtime.tracking_uri)
        return read_manifest(shards)


def _open_run(params: Params, model: Path) -> FinishedRun:
    """The tracked run of the exported model."""
    return open_run(
        model,
        tracker=params.runtime.tracker,
        uri=params.runtime.tracking_uri,
        experiment=params.runtime.experiment,
        runs_dir=Path(params.runtime.runs_dir),
    )


def _print_best(series: Series, num_known: int, out: Path) -> None:
    if num_known:
        print(f"{num_known} snapshots had been scored before")
    key = next(iter(series.protocol))
    seeds = series.protocol[key]["seed"], series.reported.protocol[key]["seed"]
    print(
        f"best by {key} on seed {seeds[0]}: {series.best.file}, "
        f"{series.best.metrics[key]:.4f}; on seed {seeds[1]}:"
    )
    print(*lines(series.reported.metrics), sep="\n")
    print(f"written to {out} and {out.with_suffix('.csv').name}")


def _print_scored(scored: Scored, as_json: bool) -> None:
    for rejected in scored.rejected:
        print(f"passed over: {rejected.key} ({rejected.reason})", file=sys.stderr)
    for note in scored.notes:
        print(note, file=sys.stderr)
    metrics, protocol = scored.results.values, scored.results.protocols
    if as_json:
        print(json.dumps({"metrics": metrics, "protocol": protocol}))
        return
    print(*lines(metrics), sep="\n")
    images = next(iter(protocol.values()))["images"]
    print(f"{images['count']} images, {images['size']} {images['mode']}, {images['digest'][:12]}")

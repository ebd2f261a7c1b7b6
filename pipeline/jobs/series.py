"""What every process of an evaluation of several snapshots does, whoever started it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import stop_reason
from pipeline.evaluation.evaluate import CONFIG_FILE
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weight_sources import weight_sources
from pipeline.evaluation.measurements import lines
from pipeline.evaluation.series import score_series
from pipeline.evaluation.series_file import Point, Series
from pipeline.jobs.evaluate import open_finished_run, open_manifest
from pipeline.runs.snapshot_search import find_snapshots
from pipeline.tracking.finished_run import FinishedRun


@dataclass(frozen=True, kw_only=True)
class SeriesPaths:
    """Paths of an evaluation of several snapshots."""

    snapshots: str
    """A file, a folder of them, or `all`: those of the exported model's run."""
    model: Path
    """Folder of the exported model."""
    reference: Path
    """Folder of the real side."""
    shards: Path
    """Folder of the shards."""
    out: Path
    """JSON file to write; a CSV of the same name is written beside it."""
    as_json: bool = False
    """Whether to print one JSON object."""


def score_series_in_group(
    params: Params,
    paths: SeriesPaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
) -> None:
    """Scores the snapshots on `device` together with the other processes. A collective.

    The main one writes, prints and tells MLflow. `should_stop` gives a reason to stop early, in
    place of this process's signals.
    """
    keep_freed_memory()
    with stop_reason(should_stop) as reason:
        manifest = open_manifest(params, paths.shards, context)
        with context.raise_on_all():
            snapshots = find_snapshots(paths.snapshots, paths.model, Path(params.runtime.runs_dir))
        fresh: list[Point] = []

        def on_point(point: Point) -> None:
            fresh.append(point)
            if not paths.as_json:
                _tell(point)

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
            _tell_best(series, len(series.points) - len(fresh), paths.out)
        if (paths.model / CONFIG_FILE).exists():
            _track(open_finished_run(params, paths.model), fresh)


def _tell(point: Point) -> None:
    values = ", ".join(f"{key} {value:.4f}" for key, value in point.metrics.items())
    print(f"{point.nimg / 1000:10.1f} kimg  {values}", flush=True)


def _tell_best(series: Series, num_known: int, out: Path) -> None:
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


def _track(run: FinishedRun, points: list[Point]) -> None:
    run.log_series({point.nimg: point.metrics for point in points if point.run_key == run.run_key})

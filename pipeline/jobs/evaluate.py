"""What every process of an evaluation does, whoever started it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.data.shards.manifest import Manifest, read_manifest
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import stop_reason
from pipeline.evaluation.evaluate import EvaluationFiles, evaluate_model
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weight_sources import weight_sources
from pipeline.evaluation.measurements import lines
from pipeline.evaluation.sample_files import GRID_FILE
from pipeline.tracking.connection import resolve_uri
from pipeline.tracking.finished_run import FinishedRun, open_run


@dataclass(frozen=True, kw_only=True)
class EvaluatePaths:
    """The evaluate stage's paths."""

    model: Path
    """Folder of the exported model."""
    reference: Path
    """Folder of the real side."""
    shards: Path
    """Folder of the shards."""
    files: EvaluationFiles
    """What to write."""
    as_json: bool = False
    """Whether to print one JSON object."""


def evaluate_in_group(
    params: Params,
    paths: EvaluatePaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
) -> None:
    """Scores the model on `device` together with the other processes. A collective.

    The main one writes, prints and tells MLflow. `should_stop` gives a reason to stop early, in
    place of this process's signals.
    """
    keep_freed_memory()
    with stop_reason(should_stop) as reason:
        executor = ParallelExecutor.on(device, context, reason)
        manifest = open_manifest(params, paths.shards, context)
        metrics = evaluate_model(
            paths.model,
            paths.reference,
            manifest,
            paths.files,
            extractors=params.reference.extractors,
            sources=weight_sources(params.reference, params.runtime.cache_dir),
            settings=params.evaluate,
            device=device,
            executor=executor,
        )
        if not context.is_main:
            return
        if paths.as_json:
            protocol = json.loads(paths.files.protocol.read_text(encoding="utf-8"))
            print(json.dumps({"metrics": metrics, "protocol": protocol}))
        else:
            print(*lines(metrics), sep="\n")
        open_finished_run(params, paths.model).log_evaluation(
            metrics,
            files=[paths.files.protocol],
            images={"class_grid": paths.files.samples / GRID_FILE},
        )


def open_manifest(params: Params, shards: Path, context: DistContext) -> Manifest:
    """What the shards hold; a mistyped address of MLflow is told as well, before the work."""
    with context.raise_on_all():
        if params.runtime.tracker == "mlflow":
            resolve_uri(params.runtime.tracking_uri)
        return read_manifest(shards)


def open_finished_run(params: Params, model: Path) -> FinishedRun:
    """The tracked run that made the exported model."""
    return open_run(
        model,
        tracker=params.runtime.tracker,
        uri=params.runtime.tracking_uri,
        experiment=params.runtime.experiment,
        runs_dir=Path(params.runtime.runs_dir),
    )

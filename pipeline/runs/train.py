"""What every process of a training job does, whoever started it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.streaming import open_anywhere
from pipeline.distributed.context import DistContext
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weight_sources import weight_sources
from pipeline.evaluation.opened import open_real_side
from pipeline.evaluation.small_protocol import SmallProtocol
from pipeline.runs.backup import open_backup
from pipeline.runs.run_output import OnStatus
from pipeline.runs.session import Session, SessionPaths, run_session
from pipeline.runs.settings import describe_system, runtime_settings, train_settings
from pipeline.tracking.opening import RunLabel, open_tracker
from pipeline.training.plain_optimizer import use_plain_optimizers


@dataclass(frozen=True, kw_only=True)
class TrainPaths:
    """The train stage's paths."""

    shards: str
    """A folder, or `s3://bucket/prefix`."""
    out: Path | None
    restart: bool = False
    """Whether to discard the run and start afresh."""
    reference: Path | None = None
    """Folder of the real side, for evaluations on the way; None: there are none."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """What somebody who has a run trained hears of it, and says about it."""

    on_run: Callable[[Path, str], None] = lambda run_dir, run_key: None
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None
    label: RunLabel | None = None
    """For the tracker."""
    lock_patience_s: float = 0.0


def train_in_group(
    params: Params,
    paths: TrainPaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
    listening: Listening = Listening(),
) -> None:
    """Trains on `device` together with the other processes. A collective.

    `should_stop` gives a reason to stop early, in place of this process's signals. Of `listening`
    see `Session`.
    """
    keep_freed_memory()
    use_plain_optimizers()
    runtime = params.runtime
    with context.raise_on_all():
        dataset = open_anywhere(paths.shards, Path(runtime.cache_dir), runtime.cache_gb)
        settings = train_settings(params, dataset.manifest)
        protocol = _open_small_protocol(params, paths, dataset.manifest, device, context)
    description = describe_system(params, dataset.manifest.resolution)
    session = Session(
        settings=settings,
        dataset=dataset,
        paths=SessionPaths(runs_dir=Path(runtime.runs_dir), out=paths.out),
        runtime=runtime_settings(params, device),
        open_tracker=lambda run_dir, run_key: open_tracker(
            run_dir,
            run_key,
            settings,
            dataset.manifest,
            description,
            kind=runtime.tracker,
            uri=runtime.tracking_uri,
            experiment=runtime.experiment,
            label=listening.label,
        ),
        open_backup=lambda run_dir, retention: open_backup(runtime.mirror, run_dir, retention),
        restart=paths.restart,
        description={**description, **({"on_the_way": protocol.protocols} if protocol else {})},
        evaluate=protocol,
        should_stop=should_stop,
        on_run=listening.on_run,
        on_status=listening.on_status,
        lock_patience_s=listening.lock_patience_s,
    )
    run_session(session, context)


def _open_small_protocol(
    params: Params, paths: TrainPaths, manifest: Manifest, device: str, context: DistContext
) -> SmallProtocol | None:
    """What scores the generator on the way: the main process's, while the others wait for it."""
    if params.train.eval_kimg is None or paths.reference is None or not context.is_main:
        return None
    real = open_real_side(
        paths.reference,
        manifest,
        params.reference.extractors,
        weight_sources(params.reference, params.runtime.cache_dir),
        device,
        ParallelExecutor.on(device),
    )
    return SmallProtocol.of(real, device)

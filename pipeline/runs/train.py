"""One training run: from the configuration, through its run folder, to the exported model.

The stage `train` and the trials of a study both call `train_run`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.core.environment import code_versions, describe_environment
from pipeline.core.errors import Preempted
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.reader import Dataset
from pipeline.data.shards.streaming import open_anywhere
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import stop_reason
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weights import weight_sources
from pipeline.evaluation.reference.folder import open_references
from pipeline.evaluation.small_protocol import SmallProtocol
from pipeline.runs.backup import Backup, open_backup
from pipeline.runs.checkpoints import FULL_DISK_CURE, Checkpoints, Retention
from pipeline.runs.outputs import Evaluate, OnStatus, RunOutputs, export_run, is_finished
from pipeline.runs.progress import Progress
from pipeline.runs.run_folder import (
    ENVIRONMENT_NAME,
    open_run_folder,
    run_folder,
    run_identity,
    run_key,
)
from pipeline.runs.settings import resolve_run, runtime_settings
from pipeline.storage.atomic import write_json
from pipeline.storage.disk_space import explain_full_folder
from pipeline.tracking.jsonl import STATS_NAME, read_stats
from pipeline.tracking.mlflow import open_tracker
from pipeline.tracking.run_description import RunLabel
from pipeline.tracking.tracker import Outcome, Tracker
from pipeline.training.loop import Summary, train
from pipeline.training.settings import RuntimeSettings, TrainSettings, check_batch, check_shares

OpenTracker = Callable[[Path, str], Tracker]
"""Makes a tracker from the run folder and the run key."""
OpenBackup = Callable[[Path, Retention], Backup]
"""Makes the backup of a run folder."""


@dataclass(frozen=True, kw_only=True)
class TrainPaths:
    """The paths of the stage `train`."""

    shards: str
    """A folder, or `s3://bucket/prefix`."""
    out: Path | None
    """Folder of the exported model; None: nothing is exported."""
    restart: bool = False
    """Whether to discard the run and start afresh."""
    reference: Path | None = None
    """Reference statistics, for evaluations during training; None: there are none."""


@dataclass(frozen=True, kw_only=True)
class RunCallbacks:
    """What the caller of a run gets to know about it; called on the main process."""

    on_run: Callable[[Path, str], None] = lambda run_dir, run_key: None
    """Called with the run folder and the run key before training."""
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None
    """Called at every status report of the run, first for those of earlier calls."""


def train_run(
    params: Params,
    paths: TrainPaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
    callbacks: RunCallbacks = RunCallbacks(),
    label: RunLabel | None = None,
    lock_patience_s: float = 0.0,
) -> None:
    """Trains what `params` describes on `device`, and exports it. A collective.

    `label` names the run for the tracker. For the others, and for what is raised, see
    `run_training`.
    """
    keep_freed_memory()
    runtime = params.runtime
    with context.raise_on_all():
        dataset = open_anywhere(paths.shards, Path(runtime.cache_dir), runtime.cache_gb)
        settings, description = resolve_run(params, dataset.manifest)
        protocol = _open_small_protocol(params, paths, dataset.manifest, device, context)
    run_training(
        settings,
        dataset,
        runtime_settings(params, device),
        runs_dir=Path(runtime.runs_dir),
        out=paths.out,
        open_tracker=lambda run_dir, run_key: open_tracker(
            run_dir,
            run_key,
            settings,
            dataset.manifest,
            description,
            kind=runtime.tracker,
            uri=runtime.tracking_uri,
            experiment=runtime.experiment,
            label=label,
        ),
        open_backup=lambda run_dir, retention: open_backup(runtime.mirror, run_dir, retention),
        evaluate=protocol,
        description={**description, **({"on_the_way": protocol.protocols} if protocol else {})},
        restart=paths.restart,
        should_stop=should_stop,
        callbacks=callbacks,
        lock_patience_s=lock_patience_s,
        context=context,
    )


def run_training(
    settings: TrainSettings,
    dataset: Dataset,
    runtime: RuntimeSettings,
    *,
    runs_dir: Path,
    out: Path | None,
    open_tracker: OpenTracker,
    open_backup: OpenBackup = lambda run_dir, retention: Backup(),
    evaluate: Evaluate | None = None,
    description: Mapping[str, Any] | None = None,
    restart: bool = False,
    should_stop: Callable[[], str | None] | None = None,
    callbacks: RunCallbacks = RunCallbacks(),
    lock_patience_s: float = 0.0,
    context: DistContext = DistContext(),  # noqa: B008
) -> None:
    """Trains to the end from where an earlier call stopped, and exports the result to `out`.

    A run that is finished is exported without training. `evaluate` scores the averaged generator
    every `eval_kimg` on the main process; `description`, JSON values, goes into the exported
    `config.json`; `should_stop` returns a reason to stop early, in place of signals and of the
    death of the starting process; `lock_patience_s` is how long to wait for another process that
    writes the run folder. Raises Preempted when the run was stopped early: its checkpoint is then
    in the run folder. A collective; the main process writes.
    """
    identity = run_identity(settings, dataset.manifest.digest, context)
    context.agree({**identity, "versions": code_versions()}, "configuration, code or data set")
    check_batch(settings.batch, len(dataset.train))
    check_shares(settings, runtime, context.world_size)
    key, total_nimg = run_key(identity), settings.total_nimg
    run_dir = run_folder(runs_dir, key)
    metadata = {
        "run_key": key,
        "dataset_digest": dataset.manifest.digest,
        "dataset_name": dataset.manifest.name,
        "class_names": list(dataset.manifest.class_names),
    }
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_reason(should_stop))
        checkpoints = None
        with context.raise_on_all():
            if context.is_main:
                stack.enter_context(open_run_folder(run_dir, identity, restart, lock_patience_s))
                checkpoints = stack.enter_context(
                    _open_checkpoints(run_dir, key, runtime, total_nimg, restart, open_backup)
                )
        if checkpoints is None:  # not the main process
            if not context.from_main(None):
                _raise_if_stopped(
                    train(settings, dataset.train, runtime, stopping, context=context), run_dir
                )
            return
        finished = context.from_main(is_finished(run_dir, total_nimg))
        start_nimg = total_nimg if finished else checkpoints.newest_nimg(total_nimg)
        callbacks.on_run(run_dir, key)
        _replay(run_dir / STATS_NAME, start_nimg, callbacks.on_status)
        if not finished:
            if runtime.eval_kimg is not None and evaluate is None:
                print("no FID during training: --reference is not given", file=sys.stderr)
            write_json(
                run_dir / ENVIRONMENT_NAME,
                {**describe_environment(runtime.device), "processes": context.world_size},
            )
            progress = Progress(start_nimg, total_nimg)

            def on_status(nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
                progress.update(nimg, metrics, elapsed_s)
                callbacks.on_status(nimg, metrics, elapsed_s)

            tracker = open_tracker(run_dir, key)
            outcome: Outcome = "failed"
            outputs = RunOutputs(
                run_dir, settings, metadata, checkpoints, tracker, on_status, evaluate
            )
            with explain_full_folder(run_dir, FULL_DISK_CURE):
                try:
                    with checkpoints:
                        summary = train(
                            settings, dataset.train, runtime, stopping, outputs, context
                        )
                    outcome = "finished" if summary.stopped_by is None else "preempted"
                finally:
                    progress.close()
                    tracker.close(outcome)
            _raise_if_stopped(summary, run_dir)
        if out is not None:
            export_run(run_dir, settings, {**metadata, **(description or {})}, out)


@contextmanager
def _open_checkpoints(
    run_dir: Path,
    key: str,
    runtime: RuntimeSettings,
    total_nimg: int,
    restart: bool,
    open_backup: OpenBackup,
) -> Iterator[Checkpoints]:
    """Yields the checkpoints of a run folder, those of its backup restored."""
    retention = Retention(keep=runtime.keep_checkpoints, interval_nimg=runtime.checkpoint_nimg)
    backup = open_backup(run_dir, retention)
    if restart:
        backup.discard()
    else:
        backup.restore(total_nimg)
    with backup:
        yield Checkpoints(
            run_dir / "checkpoints",
            key,
            runtime.keep_checkpoints,
            runtime.checkpoint_nimg,
            backup.notify,
        )


def _replay(statistics: Path, up_to_nimg: int, on_status: OnStatus) -> None:
    if statistics.exists():
        for record in read_stats(statistics, up_to_nimg)[0]:
            on_status(record.nimg, record.metrics, record.elapsed_s)


def _raise_if_stopped(summary: Summary, run_dir: Path) -> None:
    if summary.stopped_by is not None:
        raise Preempted(
            f"{summary.stopped_by}; a checkpoint at {summary.nimg / 1000:g} kimg is in "
            f"{run_dir}, run the same command to go on"
        )


def _open_small_protocol(
    params: Params, paths: TrainPaths, manifest: Manifest, device: str, context: DistContext
) -> SmallProtocol | None:
    """The evaluation during training; on the main process alone, for which the others wait."""
    if params.train.eval_kimg is None or paths.reference is None or not context.is_main:
        return None
    extractors, references = open_references(
        paths.reference,
        manifest,
        params.reference.extractors,
        weight_sources(params.reference, params.runtime.cache_dir),
        device,
        ParallelExecutor.on(device),
    )
    return SmallProtocol(extractors=extractors, references=references, device=device)

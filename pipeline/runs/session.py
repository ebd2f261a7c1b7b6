"""One call of the train stage: run folder, backup, tracker and loop together, then the export."""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.environment import code_versions, describe_environment
from pipeline.core.errors import Preempted
from pipeline.data.shards.reader import Dataset
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import stop_reason
from pipeline.runs.backup import Backup
from pipeline.runs.checkpoints import FULL_DISK_CURE, Checkpoints, Retention
from pipeline.runs.export import export_run
from pipeline.runs.progress import Progress
from pipeline.runs.run_folder import open_run_folder
from pipeline.runs.run_key import run_identity, run_key
from pipeline.runs.run_output import Evaluate, OnStatus, RunOutputs
from pipeline.storage.disk_space import explain_full_folder
from pipeline.tracking.jsonl import STATS_NAME, read_stats
from pipeline.tracking.tracker import Outcome, Tracker
from pipeline.training.loop import Summary, train
from pipeline.training.settings import RuntimeSettings, TrainSettings, check_batch, check_shares

OpenTracker = Callable[[Path, str], Tracker]
"""Makes a tracker from the run folder and the run key."""
OpenBackup = Callable[[Path, Retention], Backup]
"""Makes the backup of a run folder."""


@dataclass(frozen=True, kw_only=True)
class SessionPaths:
    """Where a session works and what it leaves."""

    runs_dir: Path
    out: Path | None
    """Folder of the exported model, replaced whole; None: nothing is exported."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """All that a call of the train stage is about."""

    settings: TrainSettings
    dataset: Dataset
    paths: SessionPaths
    runtime: RuntimeSettings
    open_tracker: OpenTracker
    open_backup: OpenBackup = lambda run_dir, retention: Backup()
    restart: bool = False
    """Whether to discard what there is of the run."""
    description: Mapping[str, Any] | None = None
    """JSON values for the exported `config.json`, such as the variant's name."""
    should_stop: Callable[[], str | None] | None = None
    """A reason to stop early; without it signals and the death of the starting process are."""
    on_run: Callable[[Path, str], None] = lambda run_dir, run_key: None
    """Hears of the run folder and the run key, before training."""
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None
    """Hears every status of the run, those of earlier calls first; on the main process."""
    lock_patience_s: float = 0.0
    """How long to wait for another process that writes the run folder."""
    evaluate: Evaluate | None = None
    """Scores the averaged generator every `eval_kimg`; on the main process."""


def run_session(session: Session, context: DistContext = DistContext()) -> None:  # noqa: B008
    """Trains to the end, from wherever an earlier call stopped, and exports the result.

    Raises Preempted when a signal or the death of the starting process ended it early; everything
    needed to go on is then in the run folder. Every process of a job calls it; the main one writes.
    """
    settings, dataset = session.settings, session.dataset
    identity = run_identity(settings, dataset.manifest.digest, context)
    context.agree({**identity, "versions": code_versions()}, "configuration, code or data set")
    check_batch(settings.batch, len(dataset.train))
    check_shares(settings, session.runtime, context.world_size)
    with ExitStack() as stack:
        should_stop = stack.enter_context(stop_reason(session.should_stop))
        if context.is_main:
            summary, run_dir = _train_and_write(session, identity, should_stop, context)
        else:
            with context.raise_on_all():
                pass  # the main process opens the run folder
            summary = train(
                settings,
                dataset.train,
                session.runtime,
                should_stop,
                context=context,
            )
            run_dir = session.paths.runs_dir
    if summary.stopped_by is not None:
        raise Preempted(
            f"{summary.stopped_by}; a checkpoint at {summary.nimg / 1000:g} kimg is in "
            f"{run_dir}, run the same command to go on"
        )


def _train_and_write(
    session: Session,
    identity: Mapping[str, Any],
    should_stop: Callable[[], str | None],
    context: DistContext,
) -> tuple[Summary, Path]:
    settings, runtime = session.settings, session.runtime
    key = run_key(identity)
    metadata = {
        "run_key": key,
        "dataset_digest": session.dataset.manifest.digest,
        "dataset_name": session.dataset.manifest.name,
        "class_names": list(session.dataset.manifest.class_names),
    }
    with ExitStack() as stack:
        with context.raise_on_all():
            run_dir = stack.enter_context(
                open_run_folder(
                    session.paths.runs_dir,
                    key,
                    identity,
                    session.restart,
                    session.lock_patience_s,
                )
            )
            backup = stack.enter_context(_open_backup(session, run_dir))
        checkpoints = Checkpoints(
            run_dir / "checkpoints",
            key,
            runtime.keep_checkpoints,
            runtime.checkpoint_nimg,
            backup.notify,
        )
        if runtime.eval_kimg is not None and session.evaluate is None:
            print("no FID on the way (train.eval_kimg): there is no --reference", file=sys.stderr)
        tracker = session.open_tracker(run_dir, key)
        start_nimg = checkpoints.newest_nimg(settings.total_nimg)
        progress = Progress(start_nimg, settings.total_nimg)
        session.on_run(run_dir, key)
        _tell_of_past(session.on_status, run_dir / STATS_NAME, start_nimg)

        def on_status(nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
            progress.update(nimg, metrics, elapsed_s)
            session.on_status(nimg, metrics, elapsed_s)

        outputs = RunOutputs(
            run_dir, settings, metadata, checkpoints, tracker, on_status, session.evaluate
        )
        outcome: Outcome = "failed"
        with explain_full_folder(run_dir, FULL_DISK_CURE):
            try:
                with checkpoints:
                    summary = train(
                        settings,
                        session.dataset.train,
                        runtime,
                        should_stop,
                        outputs,
                        context,
                    )
                outcome = "finished" if summary.stopped_by is None else "preempted"
            finally:
                progress.close()
                tracker.close(outcome)
        if summary.stopped_by is None and session.paths.out is not None:
            facts = {**metadata, **(session.description or {})}
            environment = {
                **describe_environment(runtime.device),
                "processes": context.world_size,
            }
            export_run(run_dir, outputs, settings, facts, summary, environment, session.paths.out)
    return summary, run_dir


def _tell_of_past(on_status: OnStatus, statistics: Path, up_to_nimg: int) -> None:
    if statistics.exists():
        for record in read_stats(statistics, up_to_nimg)[0]:
            on_status(record.nimg, record.metrics, record.elapsed_s)


def _open_backup(session: Session, run_dir: Path) -> Backup:
    runtime = session.runtime
    retention = Retention(keep=runtime.keep_checkpoints, interval_nimg=runtime.checkpoint_nimg)
    backup = session.open_backup(run_dir, retention)
    if session.restart:
        backup.discard()
    else:
        backup.restore(session.settings.total_nimg)
    return backup

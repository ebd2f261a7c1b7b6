"""One call of the train stage: run folder, tracker and loop put together, then the export."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.reader import Dataset
from pipeline.errors import Preempted, UserError
from pipeline.tracking.tracker import Outcome, Tracker
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.environment import describe_environment
from pipeline.training.export import export_run
from pipeline.training.interruption import Interruption
from pipeline.training.loop import train
from pipeline.training.progress import Progress
from pipeline.training.run_folder import open_run_folder
from pipeline.training.run_key import run_identity, run_key
from pipeline.training.run_output import RunOutput
from pipeline.training.settings import RuntimeSettings, TrainSettings

OpenTracker = Callable[[Path, str], Tracker]
"""Makes a tracker from the run folder and the run key."""


@dataclass(frozen=True, kw_only=True)
class SessionPaths:
    """Where a session works and what it leaves."""

    runs_dir: Path
    out: Path
    """Folder of the exported model; replaced whole."""


def run_session(
    settings: TrainSettings,
    dataset: Dataset,
    paths: SessionPaths,
    runtime: RuntimeSettings,
    open_tracker: OpenTracker,
    restart: bool = False,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Trains to the end, from wherever an earlier call stopped, and exports the result.

    `description` holds JSON values for the exported `config.json`, such as the variant's name.
    Raises Preempted when a signal or the death of the starting process ended it early; everything
    needed to go on is then in the run folder.
    """
    if settings.batch > len(dataset.train):
        raise UserError(
            f"train.batch = {settings.batch} is larger than the training split of "
            f"{len(dataset.train)} images; choose at most {len(dataset.train)}"
        )
    identity = run_identity(settings, dataset.manifest.digest)
    key = run_key(identity)
    with (
        Interruption() as interruption,
        open_run_folder(paths.runs_dir, key, identity, restart) as run_dir,
    ):
        metadata = {
            "run_key": key,
            "dataset_digest": dataset.manifest.digest,
            "dataset_name": dataset.manifest.name,
            "class_names": list(dataset.manifest.class_names),
        }
        checkpoints = Checkpoints(
            run_dir / "checkpoints",
            key,
            runtime.keep_checkpoints,
            round(runtime.checkpoint_kimg * 1000),
        )
        tracker = open_tracker(run_dir, key)
        output = RunOutput(run_dir, settings, metadata, tracker)
        progress = Progress(checkpoints.newest_nimg(settings.total_nimg), settings.total_nimg)
        outcome: Outcome = "failed"
        try:
            with checkpoints:
                summary = train(
                    settings,
                    dataset.train,
                    output,
                    checkpoints,
                    tracker,
                    runtime,
                    interruption.reason,
                    progress.update,
                )
            outcome = "finished" if summary.stopped_by is None else "preempted"
        finally:
            progress.close()
            tracker.close(outcome)
        if summary.stopped_by is not None:
            raise Preempted(
                f"{summary.stopped_by}; a checkpoint at {summary.nimg / 1000:g} kimg is in "
                f"{run_dir}, run the same command to go on"
            )
        environment = describe_environment(runtime.device)
        facts = {**metadata, **(description or {})}
        export_run(run_dir, output, settings, facts, summary, environment, paths.out)

"""What every process of a training job does, whoever started it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.training import describe_system, runtime_settings, train_settings
from pipeline.data.streaming import open_anywhere
from pipeline.errors import UserError
from pipeline.tracking.opening import open_tracker
from pipeline.training.allocator import keep_freed_memory
from pipeline.training.inheritance import Inheritance
from pipeline.training.loop import OnStatus
from pipeline.training.mirror import open_mirror
from pipeline.training.processes import Processes
from pipeline.training.session import Session, SessionPaths, run_session


@dataclass(frozen=True, kw_only=True)
class TrainPaths:
    """The train stage's paths."""

    shards: str
    """A folder, or `s3://bucket/prefix`."""
    out: Path | None
    restart: bool = False
    """Whether to discard the run and start afresh."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """What somebody who has a run trained hears of it, and says about it."""

    on_run: Callable[[Path, str], None] = lambda run_dir, run_key: None
    on_status: OnStatus = lambda nimg, metrics, elapsed_s: None
    tags: Mapping[str, str] = field(default_factory=dict)
    """For the tracker."""
    inheritance: Inheritance | None = None


def train_in_group(
    params: Params,
    paths: TrainPaths,
    device: str,
    processes: Processes,
    should_stop: Callable[[], str | None] | None = None,
    listening: Listening = Listening(),
) -> None:
    """Trains on `device` together with the other processes. A collective.

    `should_stop` gives a reason to stop early, in place of this process's signals. Of `listening`
    see `Session`.
    """
    keep_freed_memory()
    runtime = params.runtime
    try:
        dataset = open_anywhere(paths.shards, Path(runtime.cache_dir), runtime.cache_gb)
        settings = train_settings(params, dataset.manifest)
    except UserError as error:
        processes.raise_together(error)
        raise
    processes.raise_together(None)
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
            tags=listening.tags,
        ),
        open_mirror=lambda run_dir, retention: open_mirror(runtime.mirror, run_dir, retention),
        restart=paths.restart,
        description=description,
        should_stop=should_stop,
        on_run=listening.on_run,
        on_status=listening.on_status,
        inheritance=listening.inheritance,
    )
    run_session(session, processes)

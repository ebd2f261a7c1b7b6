"""The training of one trial on a thread of its own, report by report."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from pipeline.core.errors import ObstacleError, Preempted, UserError
from pipeline.distributed.context import DistContext
from pipeline.runs.train import RunCallbacks, TrainPaths, train_run
from pipeline.search.study import Study
from pipeline.search.trial_name import short_keys, trial_name
from pipeline.tracking.opening import RunLabel
from pipeline.tracking.study_runs import SEED_TAG, STUDY_TAG, TRIAL_TAG, run_id_of
from pipeline.tracking.study_view import CONFIG_PREFIX
from pipeline.training.settings import is_due, run_nimg

PREEMPTED = "the study stopped this trial"
_LOCK_PATIENCE_S = 60.0  # for a process of the same run that was killed and is not gone yet


@dataclass(frozen=True, kw_only=True)
class News:
    """A report of a trial, or its end."""

    nimg: int
    value: float | None
    outcome: str | None = None
    """Of an end: complete, failed, or unfinished where it was preempted."""
    message: str = ""
    obstacle: bool = False
    """Whether it failed by what can be mended, so that another time it goes on."""


class TrialTraining:
    """Trains while somebody waits for news, and waits while nobody does.

    So a trial that its study stops has done no step beyond the report that decided it.
    """

    def __init__(
        self, study: Study, told: Mapping[str, Any], device: str, context: DistContext
    ) -> None:
        """`told` is what the searcher says of the trial; call in the group of its processes."""
        self.params = study.trial_params(told["config"], told["seed"])
        self.run_dir: Path | None = None
        self.run_key: str | None = None
        self._study = study
        self._total_nimg = run_nimg(self.params.train.total_kimg, self.params.train.batch)
        self._told = told
        self._device = device
        self._context = context
        self._news: Queue[News | BaseException] = Queue()
        self._wanted = threading.Semaphore(0)
        self._stopping = threading.Event()
        self._held: News | None = None
        self._last = News(nimg=0, value=None)
        self._thread = threading.Thread(target=self._run, name="trial", daemon=True)

    def next(self) -> News:
        """The next news, trained for; raises what training raised that is no outcome."""
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._wanted.release()
        news = self._news.get()
        if isinstance(news, BaseException):
            raise news
        return news

    def stop(self) -> None:
        """Ends training at its next step, with a checkpoint; returns when it has ended."""
        self._stopping.set()
        self._wanted.release()
        if self._thread.ident is not None:
            self._thread.join()

    def mlflow_run_id(self) -> str | None:
        """MLflow's id of the trial's run; None before there is one."""
        runtime = self.params.runtime
        if self.run_dir is None or runtime.tracker == "none":
            return None
        return run_id_of(self.run_dir, runtime.tracking_uri, runtime.experiment, self._total_nimg)

    def _run(self) -> None:
        try:
            self._news.put(self._end())
        except BaseException as error:
            self._news.put(error)

    def _end(self) -> News:
        outcome, message, obstacle = "complete", "", False
        try:
            self._train()
            self._deliver()
            if self._last.nimg < self._total_nimg and not self._stopping.is_set():
                raise UserError(
                    f"{self.run_dir} is trained, and its statistics have no {self._study.metric} "
                    "at the end; delete that folder to have it trained anew"
                )
        except UserError as error:
            outcome, message = "failed", str(error)
            obstacle = isinstance(error, ObstacleError)
        except Preempted as stop:
            outcome, message = "unfinished", str(stop)
        return News(
            nimg=self._last.nimg,
            value=self._last.value,
            outcome=outcome,
            message=message,
            obstacle=obstacle,
        )

    def _train(self) -> None:
        study = self._study
        train_run(
            self.params,
            trial_paths(study),
            self._device,
            self._context,
            self._should_stop,
            RunCallbacks(on_run=self._on_run, on_status=self._on_status),
            _label(study, self._told),
            _LOCK_PATIENCE_S,
        )

    def _on_run(self, run_dir: Path, run_key: str) -> None:
        self.run_dir, self.run_key = run_dir.absolute(), run_key

    def _on_status(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        section, batch = self._study.section, self.params.train.batch
        if self._study.metric not in metrics:
            return
        at_interval = is_due(nimg, batch, section.report_kimg) or nimg >= self._total_nimg
        if at_interval or self._study.is_evaluated:
            self._deliver()
            self._held = News(nimg=nimg, value=finite(metrics[self._study.metric]))

    def _should_stop(self) -> str | None:
        # Asked before each step: the checkpoint that belongs to a report is under way by then.
        self._deliver()
        return PREEMPTED if self._stopping.is_set() else None

    def _deliver(self) -> None:
        """Hands out the report that is held, and waits until another is wanted."""
        if self._held is None or self._stopping.is_set():
            return
        self._last, self._held = self._held, None
        self._news.put(self._last)
        self._wanted.acquire()


def trial_paths(study: Study) -> TrainPaths:
    """Where a trial reads; it exports nothing, its snapshots are in the run folder."""
    reference = Path(study.reference) if study.is_evaluated else None
    return TrainPaths(shards=study.shards, out=None, reference=reference)


def finite(value: float) -> float | None:
    """The value, or None for one that is no number."""
    return value if abs(value) < float("inf") else None


def _label(study: Study, told: Mapping[str, Any]) -> RunLabel:
    config, seed = told["config"], told["seed"]
    names = short_keys(config)
    return RunLabel(
        name=trial_name(config, seed),
        params={
            **{f"{CONFIG_PREFIX}{names[key]}": value for key, value in config.items()},
            f"{CONFIG_PREFIX}{SEED_TAG}": seed,
        },
        tags={STUDY_TAG: study.name, TRIAL_TAG: told["id"]},
    )

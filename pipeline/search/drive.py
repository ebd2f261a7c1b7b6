"""Runs a study's trials under Ray Tune until none is left."""

import logging
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter

from pipeline.core.errors import Preempted
from pipeline.distributed.ray.cluster import DriverEnv, ray_cluster
from pipeline.distributed.stopping import Interruption
from pipeline.search.capacity import bundle_of, trials_at_a_time
from pipeline.search.failures import Failures
from pipeline.search.journal import Event
from pipeline.search.proposals import num_configs
from pipeline.search.recorder import Recorder
from pipeline.search.schedulers import Halving, InOrder
from pipeline.search.searcher import StudySearcher
from pipeline.search.trial_group import Job
from pipeline.search.trial_run import TrialRun

_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the journal is what a study goes on from
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def drive(recorder: Recorder, events: Iterable[Event], folder: Path) -> None:
    """Returns when every trial is over.

    `events` are the study's so far, `folder` is its own. Raises UserError for a cluster without
    room, and Preempted after a SIGTERM or SIGINT, when all trials have saved where they are.
    """
    study, section = recorder.study, recorder.study.section
    os.environ.update(_SETTINGS)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # `Failures` says it in a line
    storage = folder.absolute() / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    with Interruption() as interruption, ray_cluster(study.params.runtime.join_timeout_s):
        room = trials_at_a_time(section)
        bundle = bundle_of(section)
        job = Job(study=study, bundle=bundle, env=DriverEnv.here("tune.py"))
        concurrent = min(room, section.max_concurrent or room)
        print(f"{concurrent} trials at a time, {section.workers_per_trial} x {bundle} each")
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(TrialRun, job=job),
                tune.PlacementGroupFactory([bundle] * section.workers_per_trial, strategy="PACK"),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(storage),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=study.params.runtime.max_failures),
                stop=_Interrupted(recorder, interruption),
                callbacks=[Failures(recorder)],
                # Reports have theirs, in the run folder.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
            **_search(recorder, events, concurrent),
        )
        tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)
    if recorder.interrupted is not None:
        raise Preempted(
            f"{recorder.interrupted}; all trials are saved, run the same command to go on"
        )


def _search(recorder: Recorder, events: Iterable[Event], concurrent: int) -> dict[str, Any]:
    section = recorder.study.section
    return {
        "tune_config": tune.TuneConfig(
            search_alg=ConcurrencyLimiter(StudySearcher(recorder), max_concurrent=concurrent),
            scheduler=(
                Halving(recorder, events) if section.scheduler == "asha" else InOrder(recorder)
            ),
            num_samples=num_configs(recorder.study) * recorder.study.num_seeds,
            reuse_actors=True,  # a new process takes seconds to import what trains
        )
    }


class _Interrupted(tune.Stopper):
    """Asked by Ray between events whether all trials are to stop."""

    def __init__(self, recorder: Recorder, interruption: Interruption) -> None:
        self._recorder = recorder
        self._interruption = interruption

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray saves what it is given

    def stop_all(self) -> bool:
        reason = self._interruption.reason()
        if reason is not None and self._recorder.interrupted is None:
            self._recorder.interrupted = reason
            print(f"{reason}: the trials save where they are", file=sys.stderr)
        return reason is not None

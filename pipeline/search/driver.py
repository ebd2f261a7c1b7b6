"""The driver of a study: runs its trials under Ray Tune until none is left."""

import logging
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray._private.state import state as ray_state
from ray.tune.search import ConcurrencyLimiter

from pipeline.config.search import StudySection
from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.ray.cluster import DriverEnv, ray_cluster
from pipeline.distributed.ray.resources import Resources, num_fitting, reserved, resources_text
from pipeline.distributed.stopping import Interruption
from pipeline.search.journal import Event, Recorder
from pipeline.search.proposals import num_configs
from pipeline.search.schedulers import JournaledASHA, JournaledFIFO, JournaledSearcher
from pipeline.search.trial import TrialTrainable
from pipeline.search.trial_processes import TrialEnv

_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a study resumes from its journal instead
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_MAX_CAUSE = 300  # characters of a failure's cause; Ray's messages are long


def drive(recorder: Recorder, events: Iterable[Event], folder: Path) -> None:
    """Returns when every trial is over.

    `events` are the study's so far, `folder` is its own. Raises UserError if the cluster is too
    small for a trial, and Preempted after a SIGTERM or SIGINT, when all trials have a checkpoint.
    """
    study, section = recorder.study, recorder.study.section
    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # `_Failures` prints one line
    storage = folder.absolute() / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    with Interruption() as interruption, ray_cluster(study.params.runtime.join_timeout_s):
        capacity = trials_at_a_time(section)
        bundle = bundle_of(section)
        env = TrialEnv(study=study, bundle=bundle, driver=DriverEnv.here("tune.py"))
        concurrent = min(capacity, section.max_concurrent or capacity)
        print(f"{concurrent} trials at a time, {section.workers_per_trial} x {bundle} each")
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(TrialTrainable, env=env),
                tune.PlacementGroupFactory([bundle] * section.workers_per_trial, strategy="PACK"),
            ),
            tune_config=tune.TuneConfig(
                search_alg=ConcurrencyLimiter(
                    JournaledSearcher(recorder), max_concurrent=concurrent
                ),
                scheduler=(
                    JournaledASHA(recorder, events)
                    if section.scheduler == "asha"
                    else JournaledFIFO(recorder)
                ),
                num_samples=num_configs(study) * study.num_seeds,
                reuse_actors=True,  # a new process takes seconds for its imports
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(storage),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=study.params.runtime.max_failures),
                stop=_Interrupted(recorder, interruption),
                callbacks=[_Failures(recorder)],
                # Checkpoints are in the run folders.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)
    if recorder.interrupted is not None:
        raise Preempted(
            f"{recorder.interrupted}; all trials are saved, run the same command to go on"
        )


class _Interrupted(tune.Stopper):
    """Stops all trials after a signal to the driver."""

    def __init__(self, recorder: Recorder, interruption: Interruption) -> None:
        self._recorder = recorder
        self._interruption = interruption

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles it; the journal has the state

    def stop_all(self) -> bool:
        reason = self._interruption.reason()
        if reason is not None and self._recorder.interrupted is None:
            self._recorder.interrupted = reason
            print(f"{reason}: the trials save where they are", file=sys.stderr)
        return reason is not None


class _Failures(tune.Callback):
    """Prints failures of trial processes, and records the last one that Ray allows."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ray's hook: the trial is restarted."""
        left = self._recorder.study.params.runtime.max_failures - trial.num_failures
        print(
            f"{_id(trial)} failed: {_cause(trial)}; it starts again from its last checkpoint "
            f"({max(left, 0)} more times at most)",
            file=sys.stderr,
            flush=True,
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Ray's hook: the trial has failed more than `max_failures` times."""
        self._recorder.end(
            _id(trial),
            "failed",
            f"{_cause(trial)}, more often than runtime.max_failures; run the same command to try "
            "again",
            died=True,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles it; the journal has the state


def _id(trial: Any) -> str:
    return str(trial.config["trial"]["id"])


def _cause(trial: Any) -> str:
    """The last line of the traceback that is not indented."""
    path = trial.error_file
    if path is None or not Path(path).exists():
        return "its process died"
    lines = Path(path).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    cause = next((line for line in reversed(lines) if line and not line[0].isspace()), "it died")
    return cause[:_MAX_CAUSE]


def bundle_of(section: StudySection) -> dict[str, float]:
    """The resources that each process of a trial reserves. Raises UserError when there are none."""
    given = section.resources_per_worker
    bundle = reserved(given, f"resources_per_worker = {given}")
    fractions = [name for name, amount in given.items() if amount > 1 and amount % 1]
    if fractions:
        raise UserError(
            f"resources_per_worker: {fractions[0]} = {given[fractions[0]]:g} is neither a part of "
            "one nor a whole number"
        )
    return bundle


def trials_at_a_time(section: StudySection) -> int:
    """How many trials fit the connected cluster with all nodes that its autoscaler may add.

    Raises UserError when not even one ever fits.
    """
    # Private: Ray has no public way to the largest size of an autoscaling cluster.
    growth = ray_state.get_max_resources_from_cluster_config()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return trials_that_fit(section, nodes, growth)


def trials_that_fit(
    section: StudySection,
    nodes: Sequence[Resources],
    growth: Resources | None,
) -> int:
    """How many trials fit nodes of these resources, or `growth`, the cluster's largest size.

    `growth` is None for a cluster of fixed size. Raises UserError for none.
    """
    bundle, count = bundle_of(section), section.workers_per_trial
    num_workers = sum(num_fitting(bundle, node) for node in nodes)
    if growth is not None:
        num_workers = max(num_workers, num_fitting(bundle, growth))
    if num_workers < count:
        most = growth or {
            name: sum(node.get(name, 0) for node in nodes) for node in nodes for name in node
        }
        raise UserError(
            f"workers_per_trial = {count} of {resources_text(bundle)} each never fit: the Ray "
            f"cluster has {resources_text(most)}{' at most' if growth else ''}, enough for "
            f"{num_workers}; lower workers_per_trial or resources_per_worker, or name a larger "
            "cluster in RAY_ADDRESS"
        )
    return max(1, num_workers // count)

"""Runs training as a Ray Train job, on a local or a remote Ray cluster.

Ray starts the workers, restarts all of them when one fails, and joins them into a group of
torch.distributed. Paths must mean the same on every node: a shared file system, or shards copied to
one place on each and a mirror in S3 for the run folder. So must the working directory, against
which relative ones are read.
"""

import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from pipeline.config.params import Params
from pipeline.errors import Preempted, UserError
from pipeline.launching.ray_cluster import StopReason, ray_cluster, reserve_once
from pipeline.launching.ray_desk import News, open_desk
from pipeline.launching.ray_worker import FailureTeller, Task, work
from pipeline.launching.worker import TrainPaths
from pipeline.training.interruption import Interruption

_POLL_S = 0.25
_MISTAKE_GRACE_S = 10.0  # for workers that do not notice one that another met alone
_FORWARDED = ("MLFLOW_", "AWS_")  # beginnings of variables' names
_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What to ask Ray for."""

    num_workers: int
    resources_per_worker: dict[str, float]
    """Empty: one GPU with `use_gpu`, else one CPU."""
    use_gpu: bool
    max_failures: int
    """Times that failed workers are started again."""
    join_timeout_s: float
    """How long to wait for the resources of all workers, at the start and after a failure."""

    @property
    def bundle(self) -> dict[str, float]:
        """What each worker reserves. Raises UserError when that is nothing."""
        bundle = dict(self.resources_per_worker)
        if self.use_gpu:
            bundle.setdefault("GPU", 1)
        if any(amount < 0 for amount in bundle.values()) or (bundle and not any(bundle.values())):
            raise UserError(
                f"runtime.resources_per_worker = {self.resources_per_worker} reserves nothing; "
                "give positive amounts, such as {CPU: 1}"
            )
        return {name: amount for name, amount in bundle.items() if amount} or {"CPU": 1}


def run_in_ray(job: RayJob, params: Params, paths: TrainPaths) -> None:
    """Trains on the cluster that RAY_ADDRESS names, or on one of this machine.

    Raises UserError and Preempted as the workers did, UserError when the cluster has less than the
    job needs, and RuntimeError when the workers failed more than `max_failures` times. A SIGTERM or
    SIGINT to this process makes the workers save a checkpoint and stop.
    """
    bundle = job.bundle
    with (
        Interruption() as early,
        _environment(job),
        ray_cluster(job.join_timeout_s),
        Interruption() as late,  # Ray has set a handler of its own meanwhile
        tempfile.TemporaryDirectory(prefix="sagan-lab-") as storage,
    ):

        def stop_reason() -> str | None:
            return early.reason() or late.reason()

        reserve_once(bundle, job.num_workers, job.join_timeout_s, stop_reason)
        desk = open_desk()
        task = Task(
            desk=desk,
            params=params,
            paths=paths,
            use_gpu=job.use_gpu,
            folder=os.getcwd(),
            environment={n: v for n, v in os.environ.items() if n.startswith(_FORWARDED)},
        )
        fit = _Fit(_trainer(job, bundle, task, storage))
        _watch(fit, desk, stop_reason)
        _raise_end(fit, desk, job)


def _trainer(job: RayJob, bundle: dict[str, float], task: Task, storage: str) -> TorchTrainer:
    return TorchTrainer(
        work,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if job.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=job.num_workers, use_gpu=job.use_gpu, resources_per_worker=bundle
        ),
        run_config=RunConfig(
            name="train",
            storage_path=storage,  # stays empty: checkpoints are in the run folder
            failure_config=FailureConfig(
                max_failures=job.max_failures, controller_failure_limit=job.max_failures
            ),
            callbacks=[FailureTeller(task.desk, job.max_failures)],
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


class _Fit:
    """`trainer.fit()` on a thread, as the main one must answer signals."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self.error: Exception | None = None
        self._trainer = trainer
        self._thread = threading.Thread(target=self._run, name="ray fit", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error


def _watch(fit: _Fit, desk: Any, stop_reason: StopReason) -> None:
    asked = False
    give_up_s = math.inf
    while not fit.wait(_POLL_S):
        news = _read(desk)
        if news.has_mistake:
            give_up_s = min(give_up_s, time.monotonic() + _MISTAKE_GRACE_S)
        if time.monotonic() > give_up_s:
            return
        reason = stop_reason()
        if reason is not None and not news.is_training and not news.outcomes:
            raise Preempted(f"{reason} while no worker was training; run the same command to go on")
        if reason is not None and not asked:
            asked = True
            desk.ask_to_stop.remote(reason)


def _raise_end(fit: _Fit, desk: Any, job: RayJob) -> None:
    news = _read(desk)
    news.raise_outcome()
    if fit.error is None:
        return
    if not isinstance(fit.error, TrainingFailedError):
        raise fit.error
    if news.num_failures > job.max_failures:
        raise RuntimeError(
            f"the workers failed more than runtime.max_failures = {job.max_failures} times; "
            "their messages stand above"
        )
    raise UserError(
        f"the Ray cluster had no room for {job.num_workers} workers of {job.bundle} within "
        f"{job.join_timeout_s:g} s (runtime.join_timeout_s) after a failure; add nodes and run the "
        f"same command to go on ({str(fit.error).strip().splitlines()[-1]})"
    )


def _read(desk: Any) -> News:
    news: News = ray.get(desk.read.remote())
    for line in news.lines:
        print(line, file=sys.stderr, flush=True)
    return news


@contextmanager
def _environment(job: RayJob) -> Iterator[None]:
    settings: Mapping[str, str] = {
        **_SETTINGS,
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(job.join_timeout_s),
    }
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]

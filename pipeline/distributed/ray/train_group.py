"""A Ray job's workers: Ray Train starts them, joins them into a group, and restarts all of them."""

import math
import os
import textwrap
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train.torch import TorchConfig
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.distributed.ray.driver_actor import ActorStream, RayJob, StopQuery
from pipeline.distributed.work import WorkerOutcome

_USER_ERROR_DELAY_S = 2.0
_MAX_CAUSE = 400  # characters; Ray's guesses are long
_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}


def run_workers(job: RayJob, storage: str) -> Exception | None:
    """Returns when all workers have ended well, or else the error that Ray Train ended with.

    `storage` is a folder that stays empty: checkpoints are in the run folder. The error is a
    UserError when the cluster lacked the resources for too long.
    """
    runtime = job.params.runtime
    os.environ.update(_SETTINGS)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(runtime.join_timeout_s)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job},
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if job.use_gpu else "gloo",
            timeout_s=math.ceil(runtime.peer_timeout_s),
        ),
        scaling_config=ScalingConfig(
            num_workers=job.num_workers, use_gpu=job.use_gpu, resources_per_worker=job.bundle
        ),
        run_config=RunConfig(
            name="train",
            storage_path=storage,
            failure_config=FailureConfig(
                max_failures=runtime.max_failures, controller_failure_limit=runtime.max_failures
            ),
            callbacks=[FailureReport(job.driver, runtime.max_failures)],
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if isinstance(error, ControllerError) and is_startup_timeout(error.controller_failure):
            return UserError(
                f"the Ray cluster had no room for {job.num_workers} workers of {job.bundle} "
                f"within {runtime.join_timeout_s:g} s (runtime.join_timeout_s), "
                f"{runtime.max_failures + 1} times in a row; add nodes and run the same command "
                "to go on"
            )
        return RuntimeError(str(error))
    return None


class FailureReport(UserCallback):
    """Passes the causes of failures to the driver; Ray calls it in the process of the trainer."""

    def __init__(self, driver: Any, max_failures: int) -> None:
        self._driver = driver
        self._max_failures = max_failures
        self._num_failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """`worker_exceptions` is by rank."""
        self._num_failures += 1
        has_death = any(death_of(error) for error in worker_exceptions.values())
        causes = []
        for rank, error in sorted(worker_exceptions.items()):
            if death := death_of(error):
                causes.append(f"rank {rank} died: {_shorten(death)}")
            elif has_death:  # the others' collectives fail with it
                causes.append(f"rank {rank} failed: {_shorten(str(error).splitlines()[-1])}")
            else:
                causes.append(f"rank {rank} failed: {str(error).rstrip()}")
        left = self._max_failures - self._num_failures
        then = (
            f"all workers start again from the last checkpoint ({left} more times at most)"
            if left >= 0
            else "that was one too many (runtime.max_failures)"
        )
        ray.get(self._driver.workers_failed.remote("\n".join([*causes, then])))


class WorkerFailedError(Exception):
    """Holds a traceback as text, which Ray would lose."""


def _work(config: dict[str, RayJob]) -> None:
    """What each worker runs, as a process of the group that Ray Train has made."""
    job = config["job"]
    ray_context = ray.train.get_context()
    context = DistContext(
        rank=ray_context.get_world_rank(),
        local_rank=ray_context.get_local_rank(),
        world_size=ray_context.get_world_size(),
    )
    if not ray.get(job.driver.worker_started.remote()):
        return
    prefix = "" if context.is_main else f"rank {context.rank}: "
    outcome = WorkerOutcome()
    try:
        with (
            redirect_stderr(ActorStream(job.driver.write_stderr, prefix)),
            redirect_stdout(ActorStream(job.driver.write_stdout)),
        ):
            with context.raise_on_all():
                job.env.apply()
                device = _choose_device(job)
            job.work(job.params, job.paths, device, context, StopQuery(job.driver).reason)
    except (UserError, Preempted) as error:
        outcome = WorkerOutcome.of(error)
    except Exception:
        # A UserError of one worker breaks the collectives of the others before it is recorded.
        time.sleep(_USER_ERROR_DELAY_S)
        if ray.get(job.driver.is_over.remote()):
            return
        raise WorkerFailedError(traceback.format_exc()) from None
    ray.get(job.driver.worker_finished.remote(context.rank, outcome))


def _choose_device(job: RayJob) -> str:
    num_threads = job.params.runtime.num_threads
    if not job.use_gpu:
        return choose_device("cpu", num_threads)
    # Ray shows the GPUs of a node to all of its workers and assigns one to each.
    return choose_device("cuda", num_threads, ray.train.torch.get_device().index)


def is_startup_timeout(error: Exception) -> bool:
    """Whether the workers' resources were not there in time; Ray Train's class is not public."""
    return type(error).__name__ == "WorkerGroupStartupTimeoutError"


def death_of(error: Exception) -> str | None:
    """How a worker died, if it did; Ray Train's class and its attribute are not public."""
    cause = getattr(error, "health_check_failure", None)
    return str(cause) if isinstance(cause, ray.exceptions.RayActorError) else None


def _shorten(text: str) -> str:
    return textwrap.shorten(text, _MAX_CAUSE, placeholder=" ...")

"""Ray Train's part of a Ray job: it starts the workers, joins them, and restarts all of them."""

import math
import os
import textwrap
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from pipeline.distributed.ray.task import FitFailure, RayJob, Task
from pipeline.distributed.ray.worker import work

_MAX_CAUSE = 400  # characters; Ray guesses at great length
_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}


def fit(job: RayJob, task: Task, storage: str) -> FitFailure | None:
    """Returns when all workers have ended well, or too often badly.

    `storage` is a folder that stays empty: checkpoints are in the run folder.
    """
    os.environ.update(_SETTINGS)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(job.join_timeout_s)
    trainer = TorchTrainer(
        work,
        train_loop_config={"task": task},
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if job.use_gpu else "gloo",
            timeout_s=math.ceil(task.params.runtime.peer_timeout_s),
        ),
        scaling_config=ScalingConfig(
            num_workers=job.num_workers, use_gpu=job.use_gpu, resources_per_worker=job.bundle
        ),
        run_config=RunConfig(
            name="train",
            storage_path=storage,
            failure_config=FailureConfig(
                max_failures=job.max_failures, controller_failure_limit=job.max_failures
            ),
            callbacks=[FailureTeller(task.desk, job.max_failures)],
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        cause = error.controller_failure if isinstance(error, ControllerError) else None
        return FitFailure(
            is_lack_of_room=isinstance(cause, WorkerGroupStartupTimeoutError), text=str(error)
        )
    return None


class FailureTeller(UserCallback):
    """Tells the desk why workers failed; Ray calls it where the job is controlled."""

    def __init__(self, desk: Any, max_failures: int) -> None:
        self._desk = desk
        self._max_failures = max_failures
        self._num_failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """`worker_exceptions` is by rank."""
        self._num_failures += 1
        died = any(_death(error) for error in worker_exceptions.values())
        causes = []
        for rank, error in sorted(worker_exceptions.items()):
            if death := _death(error):
                causes.append(f"rank {rank} died: {_shorten(death)}")
            elif died:  # and tore the others' connections
                causes.append(f"rank {rank} failed: {_shorten(str(error).splitlines()[-1])}")
            else:
                causes.append(f"rank {rank} failed: {str(error).rstrip()}")
        left = self._max_failures - self._num_failures
        then = (
            f"all workers start again from the last checkpoint ({left} more times at most)"
            if left >= 0
            else "that was one too many (runtime.max_failures)"
        )
        ray.get(self._desk.fail.remote("\n".join([*causes, then])))


def _death(error: Exception) -> str | None:
    cause = getattr(error, "health_check_failure", None)
    return str(cause) if isinstance(cause, ray.exceptions.RayActorError) else None


def _shorten(text: str) -> str:
    return textwrap.shorten(text, _MAX_CAUSE, placeholder=" ...")

"""What each worker of a Ray job does, and how its failures are told."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
from ray.train.v2.api.callback import UserCallback

from pipeline.config.params import Params
from pipeline.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from pipeline.launching.ray_desk import DeskStream, StopRequests
from pipeline.launching.worker import TrainPaths, train_in_group
from pipeline.training.devices import choose_device
from pipeline.training.processes import Processes

_MISTAKE_TRAVELS_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the driver sends to each worker."""

    desk: Any
    """Handle of the desk."""
    params: Params
    paths: TrainPaths
    use_gpu: bool
    folder: str
    """The driver's working directory."""
    environment: Mapping[str, str]
    """Variables that a worker gets where its node does not set them."""


def work(config: dict[str, Task]) -> None:
    """Trains as one process of the group that Ray has made; `config["task"]` says what."""
    task = config["task"]
    context = ray.train.get_context()
    processes = Processes(
        rank=context.get_world_rank(),
        local_rank=context.get_local_rank(),
        world_size=context.get_world_size(),
    )
    if not ray.get(task.desk.start.remote()):
        return
    prefix = "" if processes.is_main else f"rank {processes.rank}: "
    code, message = 0, ""
    try:
        with redirect_stderr(DeskStream(task.desk, prefix)):
            _train(task, processes)
    except UserError as error:
        code, message = EXIT_USER_ERROR, str(error)
    except Preempted as stop:
        code, message = EXIT_PREEMPTED, str(stop)
    except Exception:
        # A mistake that one worker met alone breaks the others' collectives.
        time.sleep(_MISTAKE_TRAVELS_S)
        if ray.get(task.desk.is_over.remote()):
            return
        raise
    ray.get(task.desk.end.remote(processes.rank, code, message))


def _train(task: Task, processes: Processes) -> None:
    for name, value in task.environment.items():
        os.environ.setdefault(name, value)
    device, error = "cpu", None
    try:
        os.chdir(task.folder)
        device = _choose_device(task)
    except OSError:
        error = UserError(
            f"node {socket.gethostname()} has no folder {task.folder}, where training was started; "
            "start it from a folder that all nodes share or have"
        )
    except UserError as mistake:
        error = mistake
    processes.raise_together(error)
    requests = StopRequests(task.desk)
    train_in_group(task.params, task.paths, device, processes, requests.reason)


def _choose_device(task: Task) -> str:
    runtime = task.params.runtime
    if not task.use_gpu:
        return choose_device("cpu", runtime.num_threads)
    # Ray shows a node's GPUs to all of its workers and says which is whose.
    own = ray.train.torch.get_device().index
    return choose_device("cuda", runtime.num_threads, own)


class FailureTeller(UserCallback):
    """Tells the desk why workers failed; Ray calls it where the job is controlled."""

    def __init__(self, desk: Any, max_failures: int) -> None:
        self._desk = desk
        self._max_failures = max_failures
        self._num_failures = 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """`worker_exceptions` is by rank."""
        self._num_failures += 1
        causes = [_describe(rank, error) for rank, error in sorted(worker_exceptions.items())]
        left = self._max_failures - self._num_failures
        then = (
            f"all workers start again from the last checkpoint ({left} more times at most)"
            if left >= 0
            else "that was one too many (runtime.max_failures)"
        )
        ray.get(self._desk.fail.remote("\n".join([*causes, then])))


def _describe(rank: int, error: Exception) -> str:
    cause = getattr(error, "health_check_failure", None)
    if isinstance(cause, ray.exceptions.RayActorError):
        return f"rank {rank} died: {_essence(str(cause))}"
    return f"rank {rank} failed: {str(error).rstrip()}"


def _essence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines[:1] + lines[-1:] if line)

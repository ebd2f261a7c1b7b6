"""What each worker of a Ray job does."""

import time
import traceback
from contextlib import redirect_stderr, redirect_stdout

import ray
import ray.train
import ray.train.torch

from pipeline.core.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.distributed.ray.driver_actor import DeskStream, StopRequests
from pipeline.distributed.ray.task import Task

_MISTAKE_TRAVELS_S = 2.0


def work(config: dict[str, Task]) -> None:
    """Works as one process of the group that Ray has made; `config["task"]` says what."""
    task = config["task"]
    ray_context = ray.train.get_context()
    context = DistContext(
        rank=ray_context.get_world_rank(),
        local_rank=ray_context.get_local_rank(),
        world_size=ray_context.get_world_size(),
    )
    if not ray.get(task.desk.start.remote()):
        return
    prefix = "" if context.is_main else f"rank {context.rank}: "
    code, message = 0, ""
    try:
        with (
            redirect_stderr(DeskStream(task.desk.say, prefix)),
            redirect_stdout(DeskStream(task.desk.give)),
        ):
            _work(task, context)
    except UserError as error:
        code, message = EXIT_USER_ERROR, str(error)
    except Preempted as stop:
        code, message = EXIT_PREEMPTED, str(stop)
    except Exception:
        # A mistake that one worker met alone breaks the others' collectives.
        time.sleep(_MISTAKE_TRAVELS_S)
        if ray.get(task.desk.is_over.remote()):
            return
        raise WorkerFailedError(traceback.format_exc()) from None
    ray.get(task.desk.end.remote(context.rank, code, message))


def _work(task: Task, context: DistContext) -> None:
    device, error = "cpu", None
    try:
        task.origin.enter()
        device = _choose_device(task)
    except UserError as mistake:
        error = mistake
    context.raise_error_on_all(error)
    requests = StopRequests(task.desk)
    task.work(task.params, task.paths, device, context, requests.reason)


def _choose_device(task: Task) -> str:
    runtime = task.params.runtime
    if not task.use_gpu:
        return choose_device("cpu", runtime.num_threads)
    # Ray shows a node's GPUs to all of its workers and says which is whose.
    own = ray.train.torch.get_device().index
    return choose_device("cuda", runtime.num_threads, own)


class WorkerFailedError(Exception):
    """Holds a traceback as text; Ray would leave it behind."""

"""Makes shards as tasks of a Ray cluster.

Paths must mean the same on every node: the images' unless they are in S3, and the shards'.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import ray
from ray.exceptions import RayTaskError

from pipeline.core.errors import UserError
from pipeline.data.ingest.executors import Executor
from pipeline.data.ingest.shard_task import ShardResult, ShardTask, make_shard
from pipeline.distributed.ray.cluster import ray_cluster, variables

_MAX_FAILURES = 3
_TASKS_PER_CPU = 2
"""Pending tasks per CPU of the cluster; more would only fill its memory."""


def ray_executor(timeout_s: float) -> Executor:
    """An executor on the cluster that RAY_ADDRESS names, or on one of this machine.

    A task whose node is lost is run again. The executor raises UserError as a task does, and when
    no cluster answers within `timeout_s`.
    """

    def run(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        environment = variables("AWS_")
        with ray_cluster(timeout_s):
            work = ray.remote(num_cpus=1, max_retries=_MAX_FAILURES)(_work)
            waiting = list(reversed(tasks))
            running: list[ray.ObjectRef] = []
            while waiting or running:
                max_pending = _TASKS_PER_CPU * int(ray.cluster_resources().get("CPU", 1)) or 1
                while waiting and len(running) < max_pending:
                    running.append(work.remote(waiting.pop(), environment))
                done, running = ray.wait(running)
                yield from map(_result, done)

    return run


def _work(task: ShardTask, environment: Mapping[str, str]) -> ShardResult:
    os.environ.update(environment)
    return make_shard(task)


def _result(reference: "ray.ObjectRef") -> ShardResult:
    try:
        result: ShardResult = ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    return result

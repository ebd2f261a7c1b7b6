"""Runs a stage's work as a Ray Train job, on a local or a remote Ray cluster.

Ray starts the workers, restarts all of them when one fails, and joins them into a group of
torch.distributed. Paths must mean the same on every node: a shared file system, or shards copied to
one place on each and a mirror in S3 for the run folder. So must the working directory, against
which relative ones are read.
"""

import sys
import tempfile
from typing import Any

import ray

from pipeline.config.params import Params
from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.interruption import Interruption
from pipeline.distributed.ray.cluster import StopReason, await_room, on_this_node, ray_cluster
from pipeline.distributed.ray.driver_actor import Desk, News
from pipeline.distributed.ray.driver_env import Origin
from pipeline.distributed.ray.task import FitFailure, RayJob, Task
from pipeline.distributed.work import Paths, Work

_POLL_S = 0.25
_MISTAKE_GRACE_S = 10.0  # for workers that do not notice one that another met alone


def run_in_ray(job: RayJob, work: Work[Paths], params: Params, paths: Paths) -> None:
    """Works on the cluster that RAY_ADDRESS names, or on one of this machine.

    Raises UserError and Preempted as the workers did, UserError when the cluster has less than the
    job needs, and RuntimeError when the workers failed more than `max_failures` times. A SIGTERM or
    SIGINT to this process makes the workers stop, after training with a checkpoint.
    """
    bundle = job.bundle
    with (
        Interruption() as interruption,
        ray_cluster(job.join_timeout_s),
        tempfile.TemporaryDirectory(prefix="sagan-lab-") as storage,
    ):
        await_room(bundle, job.num_workers, job.join_timeout_s, interruption.reason)
        desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=on_this_node()).remote()
        task = Task(
            desk=desk,
            work=work,
            params=params,
            paths=paths,
            use_gpu=job.use_gpu,
            origin=Origin.here("the stage"),
        )
        # In a process of its own, which can be ended while it waits for something.
        fit = (
            ray.remote(_fit)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=on_this_node())
            .remote(job, task, storage)
        )
        try:
            _watch(fit, desk, interruption.reason)
            failure = ray.get(fit)
        finally:
            news = _read(desk)
            ray.cancel(fit, force=True)
        news.raise_outcome()
        _explain(failure, news, job)


def _fit(job: RayJob, task: Task, storage: str) -> FitFailure | None:
    from pipeline.distributed.ray.trainer import fit  # takes seconds to import

    return fit(job, task, storage)


def _watch(fit: Any, desk: Any, stop_reason: StopReason) -> None:
    asked = False
    while not ray.wait([fit], timeout=_POLL_S)[0]:
        news = _read(desk)
        if news.mistake_age_s > _MISTAKE_GRACE_S:
            news.raise_outcome()
        reason = stop_reason()
        if reason is not None and not news.is_training and not news.outcomes:
            raise Preempted(f"{reason} while no worker was at work; run the same command to go on")
        if reason is not None and not asked:
            asked = True
            desk.ask_to_stop.remote(reason)


def _read(desk: Any) -> News:
    news: News = ray.get(desk.read.remote())
    for line in news.lines:
        print(line, file=sys.stderr, flush=True)
    for line in news.results:
        print(line, flush=True)
    return news


def _explain(failure: FitFailure | None, news: News, job: RayJob) -> None:
    if failure is None and 0 in news.outcomes:
        return
    if news.num_failures > job.max_failures:
        raise RuntimeError(
            f"the workers failed more than runtime.max_failures = {job.max_failures} times; "
            "their messages stand above"
        )
    if failure is not None and failure.is_lack_of_room:
        raise UserError(
            f"the Ray cluster had no room for {job.num_workers} workers of {job.bundle} within "
            f"{job.join_timeout_s:g} s (runtime.join_timeout_s), {job.max_failures + 1} times in a "
            "row; add nodes and run the same command to go on"
        )
    raise RuntimeError("Ray Train gave up" if failure is None else failure.text)

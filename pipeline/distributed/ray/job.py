"""Runs a stage's work as a Ray Train job, on a local or a remote Ray cluster.

Ray starts the workers, restarts all of them when one fails, and joins them into a group of
torch.distributed. Paths must mean the same on every node: a shared file system, or shards copied to
one place on each and a backup in S3 for the run folder. So must the working directory, against
which relative ones are read.
"""

import sys
import tempfile
from typing import Any

import ray

from pipeline.config.params import Params
from pipeline.core.errors import Preempted
from pipeline.distributed.ray.cluster import DriverEnv, on_this_node, ray_cluster
from pipeline.distributed.ray.driver_actor import DriverActor, JobStatus, RayJob
from pipeline.distributed.ray.resources import await_resources, reserved
from pipeline.distributed.stopping import Interruption
from pipeline.distributed.work import Paths, StopReason, Work, raise_outcome

_POLL_S = 0.25
_USER_ERROR_GRACE_S = 10.0  # for workers that wait in a collective for one that raised UserError


def run_in_ray(work: Work[Paths], params: Params, paths: Paths, num_workers: int) -> None:
    """Runs `work` on the cluster that RAY_ADDRESS names, or on one of this machine.

    Raises UserError and Preempted as the workers did, UserError when the cluster has less than the
    job needs, and RuntimeError when the workers failed more than `runtime.max_failures` times. A
    SIGTERM or SIGINT to this process makes the workers stop, after training with a checkpoint.
    """
    runtime = params.runtime
    amounts = dict(runtime.resources_per_worker)
    use_gpu = runtime.device == "cuda" or amounts.get("GPU", 0) > 0
    bundle = worker_bundle(amounts, use_gpu)
    with (
        Interruption() as interruption,
        ray_cluster(runtime.join_timeout_s),
        tempfile.TemporaryDirectory(prefix="sagan-lab-") as storage,
    ):
        await_resources(bundle, num_workers, runtime.join_timeout_s, interruption.reason)
        here = {"num_cpus": 0, "scheduling_strategy": on_this_node()}
        driver = ray.remote(DriverActor).options(**here).remote()
        job = RayJob(
            work=work,
            params=params,
            paths=paths,
            num_workers=num_workers,
            bundle=bundle,
            use_gpu=use_gpu,
            env=DriverEnv.here("the stage"),
            driver=driver,
        )
        # In a process of its own, which can be killed while Ray Train waits for something.
        trainer = ray.remote(_run_workers).options(max_retries=0, **here).remote(job, storage)
        try:
            _watch(trainer, driver, interruption.reason)
            failure = ray.get(trainer)
        finally:
            status = _poll(driver)
            ray.cancel(trainer, force=True)
        raise_outcome(status.outcomes)
        if failure is None and 0 in status.outcomes:
            return
        if status.num_failures > runtime.max_failures:
            raise RuntimeError(
                f"the workers failed more than runtime.max_failures = {runtime.max_failures} "
                "times; their messages stand above"
            )
        raise failure or RuntimeError("Ray Train ended before the workers")


def worker_bundle(amounts: dict[str, float], use_gpu: bool) -> dict[str, float]:
    """What a worker reserves: runtime.resources_per_worker, by default one GPU or else one CPU.

    Raises UserError when that is nothing.
    """
    bundle = {"GPU": 1, **amounts} if use_gpu else amounts
    return reserved(bundle, f"runtime.resources_per_worker = {amounts}")


def _run_workers(job: RayJob, storage: str) -> Exception | None:
    from pipeline.distributed.ray.train_group import run_workers  # takes seconds to import

    return run_workers(job, storage)


def _watch(trainer: Any, driver: Any, stop_reason: StopReason) -> None:
    has_requested = False
    while not ray.wait([trainer], timeout=_POLL_S)[0]:
        status = _poll(driver)
        if status.user_error_age_s > _USER_ERROR_GRACE_S:
            raise_outcome(status.outcomes)
        reason = stop_reason()
        if reason is not None and not status.is_running and not status.outcomes:
            raise Preempted(f"{reason} while no worker was at work; run the same command to go on")
        if reason is not None and not has_requested:
            has_requested = True
            driver.request_stop.remote(reason)


def _poll(driver: Any) -> JobStatus:
    status: JobStatus = ray.get(driver.poll.remote())
    for line in status.stderr:
        print(line, file=sys.stderr, flush=True)
    for line in status.stdout:
        print(line, flush=True)
    return status

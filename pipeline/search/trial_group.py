"""The processes that train one trial: the trial's own, and tasks in the rest of its reservation."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipeline.config.params import Params
from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.context import DistContext
from pipeline.distributed.devices import choose_device
from pipeline.distributed.group import process_group
from pipeline.distributed.ray.cluster import DriverEnv
from pipeline.runs.train import train_run
from pipeline.search.study import Study
from pipeline.search.trial_training import trial_paths

_DEAD = 70  # exit code of a trial whose other processes are gone
_GRACE_S = 15.0
_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the processes of every trial are told."""

    study: Study
    bundle: Mapping[str, float]
    """What each process of a trial reserves."""
    env: DriverEnv


def enter(job: Job, params: Params) -> str:
    """Makes this process one of the job's; its device. Raises UserError where there is no folder.

    A fraction of a GPU is a whole device to torch: its memory is shared with others.
    """
    job.env.apply()
    num_threads = params.runtime.num_threads or max(1, int(job.bundle.get("CPU", 1)))
    on_gpu = job.bundle.get("GPU", 0) > 0
    return choose_device("cuda" if on_gpu else "cpu", num_threads)


@contextmanager
def trial_group(
    job: Job, params: Params, told: Mapping[str, Any], device: str
) -> Iterator[DistContext]:
    """This process as the main one of a trial's, with the others at work in their places.

    One that dies takes this process with it, unless it ends by itself soon: so Ray starts all of
    them again.
    """
    num_workers = job.study.section.workers_per_trial
    if num_workers == 1:
        yield DistContext()
        return
    address, port = ray.util.get_node_ip_address(), _free_port()
    group = get_current_placement_group()
    assert group is not None
    over = threading.Event()
    peers = [
        ray.remote(_peer)
        .options(
            num_cpus=job.bundle.get("CPU", 0),
            num_gpus=job.bundle.get("GPU", 0),
            resources={n: a for n, a in job.bundle.items() if n not in ("CPU", "GPU")},
            max_retries=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
        )
        .remote(job, told, rank, address, port)
        for rank in range(1, num_workers)
    ]
    threading.Thread(target=_watch, args=(peers, over), daemon=True).start()
    try:
        with _joined(params, device, 0, num_workers, address, port) as context:
            yield context
    finally:
        over.set()
        for peer in peers:
            ray.cancel(peer, force=True)


def _peer(job: Job, told: Mapping[str, Any], rank: int, address: str, port: int) -> None:
    study = job.study
    params = study.trial_params(told["config"], told["seed"])
    device = enter(job, params)
    count = study.section.workers_per_trial
    try:
        with _joined(params, device, rank, count, address, port) as context:
            train_run(
                params,
                trial_paths(study),
                device,
                context,
                lambda: None,
            )
    except (UserError, Preempted):
        return  # the main process tells


@contextmanager
def _joined(
    params: Params, device: str, rank: int, count: int, address: str, port: int
) -> Iterator[DistContext]:
    described = {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",  # Ray shows a process its own devices alone
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }
    os.environ.update(described)
    runtime = params.runtime
    try:
        with process_group(device, runtime.join_timeout_s, runtime.peer_timeout_s) as context:
            yield context
    finally:
        for name in described:
            os.environ.pop(name, None)


def _watch(peers: list[Any], over: threading.Event) -> None:
    waiting = list(peers)
    while waiting and not over.is_set():
        done, waiting = ray.wait(waiting, timeout=_LOOK_S)
        for peer in done:
            try:
                ray.get(peer)
            except ray.exceptions.RayError as error:
                # A collective may wait for the dead one for half an hour.
                if not over.wait(_GRACE_S):
                    print(f"a process of this trial is gone: {error}", flush=True)
                    os._exit(_DEAD)
                return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])

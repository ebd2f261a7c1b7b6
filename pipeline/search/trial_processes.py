"""The processes of one trial: the Ray actor, and Ray tasks in the rest of its reservation."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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
from pipeline.runs.train import TrainPaths, train_run
from pipeline.search.study import Study

_DEAD = 70  # exit code of the main process after another process died
_GRACE_S = 15.0
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class TrialEnv:
    """The same for all processes of all trials."""

    study: Study
    bundle: Mapping[str, float]
    """The resources that each process of a trial reserves."""
    driver: DriverEnv


def trial_paths(study: Study) -> TrainPaths:
    """A trial's inputs; it exports nothing, its snapshots are in the run folder."""
    reference = Path(study.reference) if study.is_evaluated else None
    return TrainPaths(shards=study.shards, out=None, reference=reference)


def enter(env: TrialEnv, params: Params) -> str:
    """Sets this process's environment and working directory; returns its device.

    With a fraction of a GPU, torch shares the device's memory with other processes. Raises
    UserError where the node has no such directory.
    """
    env.driver.apply()
    num_threads = params.runtime.num_threads or max(1, int(env.bundle.get("CPU", 1)))
    on_gpu = env.bundle.get("GPU", 0) > 0
    return choose_device("cuda" if on_gpu else "cpu", num_threads)


@contextmanager
def trial_processes(
    env: TrialEnv, params: Params, spec: Mapping[str, Any], device: str
) -> Iterator[DistContext]:
    """Starts the other processes of a trial; the context of this one, the main process.

    When another process dies and this one does not end soon by itself, it exits, so that Ray
    restarts all of them.
    """
    num_workers = env.study.section.workers_per_trial
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
            num_cpus=env.bundle.get("CPU", 0),
            num_gpus=env.bundle.get("GPU", 0),
            resources={n: a for n, a in env.bundle.items() if n not in ("CPU", "GPU")},
            max_retries=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=rank
            ),
        )
        .remote(env, spec, rank, address, port)
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


def _peer(env: TrialEnv, spec: Mapping[str, Any], rank: int, address: str, port: int) -> None:
    study = env.study
    params = study.trial_params(spec["config"], spec["seed"])
    device = enter(env, params)
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
        return  # the main process reports it


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
        done, waiting = ray.wait(waiting, timeout=_POLL_S)
        for peer in done:
            try:
                ray.get(peer)
            except ray.exceptions.RayError as error:
                # A collective may wait half an hour for the dead process.
                if not over.wait(_GRACE_S):
                    print(f"a process of this trial is gone: {error}", flush=True)
                    os._exit(_DEAD)
                return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])

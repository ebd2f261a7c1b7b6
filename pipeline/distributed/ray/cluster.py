"""The Ray cluster that a job runs on: joined or started, and asked for room."""

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import pipeline
from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.ray.resources import Resources, num_fitting, resources_text

_LOCAL_STORE_BYTES = 100 * 2**20  # nothing large goes through it
_ANNOUNCE_S = 3.0

StopReason = Callable[[], str | None]


@contextmanager
def ray_cluster(timeout_s: float) -> Iterator[None]:
    """Connected to the cluster that RAY_ADDRESS names, or to one of this machine for as long.

    Raises UserError when none answers within `timeout_s`, and Preempted on a SIGTERM meanwhile.
    """
    try:
        if is_local():
            with _local_cluster():
                yield
        else:
            _join(os.environ["RAY_ADDRESS"], timeout_s)
            yield
    finally:
        _shutdown()


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """Where this process is, or nowhere."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def is_local() -> bool:
    """Whether `ray_cluster` starts a cluster of this machine."""
    return os.environ.get("RAY_ADDRESS", "local") in ("", "local")


def await_room(
    bundle: Resources, num_workers: int, timeout_s: float, stop_reason: StopReason
) -> None:
    """Waits until the cluster has room for `num_workers` times `bundle`.

    A cluster of this machine does not grow, so it is not waited for. Raises UserError that says
    what there is, and Preempted.
    """
    room = sum(num_fitting(bundle, node["Resources"]) for node in ray.nodes() if node["Alive"])
    if is_local():
        if room < num_workers:
            raise UserError(_no_room(bundle, num_workers, room))
        return
    try:
        group = placement_group([dict(bundle)] * num_workers, strategy="PACK")
    except ValueError as error:
        raise UserError(
            f"Ray cannot reserve runtime.resources_per_worker = {dict(bundle)}: {error}"
        ) from None
    try:
        start_s = time.monotonic()
        announced = False
        while not group.wait(timeout_seconds=0.5):
            waited_s = time.monotonic() - start_s
            if reason := stop_reason():
                raise Preempted(f"{reason} while waiting for room in the Ray cluster")
            if waited_s > timeout_s:
                raise UserError(
                    f"{_no_room(bundle, num_workers, room)}; waited {timeout_s:g} s "
                    "(runtime.join_timeout_s)"
                )
            if waited_s > _ANNOUNCE_S and not announced:
                announced = True
                text = _no_room(bundle, num_workers, room)
                print(f"waiting up to {timeout_s:g} s: {text}", file=sys.stderr)
    finally:
        remove_placement_group(group)


def _join(address: str, timeout_s: float) -> None:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes, or end the process
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
        # A job that `ray job submit` started has its workers' environment from there.
        submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
        env = {} if submitted else {"env_vars": {"PYTHONPATH": _python_path()}}
        _init(address=address, runtime_env=env)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"no usable Ray cluster at RAY_ADDRESS = {address}: {str(error).splitlines()[0]}; "
            "start one there, or unset RAY_ADDRESS to use this machine alone"
        ) from None


@contextmanager
def _local_cluster() -> Iterator[None]:
    ours = {
        # A token of its own, instead of one that Ray would write into the home folder.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": _python_path(),
    }
    before = {name: os.environ.get(name) for name in (*ours, "RAY_AUTH_MODE")}
    os.environ.update(ours)
    # Sockets need short paths, so not the folder that TMPDIR may name.
    folder = tempfile.mkdtemp(prefix="sagan-lab-", dir="/tmp")
    try:
        _init(
            address="local",
            include_dashboard=False,
            object_store_memory=_LOCAL_STORE_BYTES,
            _temp_dir=folder,
        )
        yield
    except (UserError, Preempted):
        raise
    except Exception:
        print(f"Ray's own messages are in {folder}", file=sys.stderr)
        folder = ""
        raise
    finally:
        _shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _init(**options: Any) -> None:
    try:
        with _sigterm_kept():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except SystemExit:  # Ray's own handler, where another thread took the signal
        raise Preempted("SIGTERM while Ray started") from None


def _shutdown() -> None:
    with _sigterm_kept():
        ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    # Ray replaces the handler at both ends; the signal waits for the old one to be back.
    # A cluster that is started meanwhile never hears it: a batch system that sends it to the whole
    # group must not take Ray's processes from workers that save their state.
    handler = signal.getsignal(signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _python_path() -> str:
    root = str(Path(pipeline.__path__[0]).resolve().parent)
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))


def _no_room(bundle: Resources, num_workers: int, room: int) -> str:
    if is_local():
        has = f"this machine has {resources_text(ray.cluster_resources())}"
        cure = "name a larger cluster in RAY_ADDRESS"
    else:
        free = resources_text(ray.available_resources())
        has = f"the Ray cluster has {resources_text(ray.cluster_resources())}, free are {free}"
        cure = "add nodes"
    return (
        f"runtime.num_workers = {num_workers} of {resources_text(bundle)} each do not fit: {has}, "
        f"room for {room} at most; lower runtime.num_workers or runtime.resources_per_worker, or "
        f"{cure}"
    )

"""Connects to a Ray cluster, or starts one; the driver's environment for its workers."""

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import pipeline
from pipeline.core.errors import Preempted, UserError

_LOCAL_STORE_BYTES = 100 * 2**20  # nothing large goes through it


@contextmanager
def ray_cluster(timeout_s: float) -> Iterator[None]:
    """A connection to the cluster that RAY_ADDRESS names, or to one that is started here.

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
    """Schedules a task or an actor on the node of this process, or not at all."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def is_local() -> bool:
    """Whether `ray_cluster` starts a cluster of this machine."""
    return os.environ.get("RAY_ADDRESS", "local") in ("", "local")


@dataclass(frozen=True, kw_only=True)
class DriverEnv:
    """Working directory and environment variables of a job's driver, for its workers."""

    program: str
    """What was started there, for messages."""
    folder: str
    """Working directory, the same on all nodes."""
    variables: Mapping[str, str]
    """Environment variables that a worker gets where its node does not set them."""

    @classmethod
    def here(cls, program: str) -> Self:
        """That of this process."""
        return cls(program=program, folder=os.getcwd(), variables=variables("AWS_", "MLFLOW_"))

    def apply(self) -> None:
        """Sets both for this process. Raises UserError where its node has no such folder."""
        for name, value in self.variables.items():
            os.environ.setdefault(name, value)
        try:
            os.chdir(self.folder)
        except OSError:
            raise UserError(
                f"node {socket.gethostname()} has no folder {self.folder}, where {self.program} "
                "started; start it from a folder that all nodes share or have"
            ) from None


def variables(*prefixes: str) -> dict[str, str]:
    """The environment variables of this process whose names begin with one of `prefixes`."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _join(address: str, timeout_s: float) -> None:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if host and port.isdigit():  # Ray would try for minutes, or exit the process
            socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
        # `ray job submit` has set the environment of the workers.
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
    settings = {
        # Without it Ray writes a token into the home folder.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": _python_path(),
    }
    before = {name: os.environ.get(name) for name in (*settings, "RAY_AUTH_MODE")}
    os.environ.update(settings)
    # Paths of sockets must be short, so TMPDIR is not used.
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
        with _sigterm_deferred():
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except SystemExit:  # raised by Ray's handler when another thread received the signal
        raise Preempted("SIGTERM while Ray started") from None


def _shutdown() -> None:
    with _sigterm_deferred():
        ray.shutdown()


@contextmanager
def _sigterm_deferred() -> Iterator[None]:
    # Ray replaces the handler; a signal meanwhile is delivered to the restored one. The blocked
    # mask is inherited by a cluster that is started meanwhile: a batch system that signals the
    # whole process group must not end Ray's processes while workers save their state.
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

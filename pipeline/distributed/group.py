"""Joins the group of processes that the environment describes, as torchrun and Slurm scripts do."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from pipeline.core.errors import UserError
from pipeline.distributed.context import DistContext

_KEYS = "sagan-lab"
_POLL_S = 0.05
_GRACE_S = 5.0


def is_described() -> bool:
    """Whether RANK and WORLD_SIZE say that this process is one of several of a job."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(
    device: str, join_timeout_s: float, peer_timeout_s: float = 1800
) -> Iterator[DistContext]:
    """Yields this process's place among the others; the default group joins them inside.

    Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Raises UserError when others
    have not come within `join_timeout_s`, naming them. A collective fails when another process has
    been silent for `peer_timeout_s`, in which the main one may be writing a snapshot.
    """
    if not is_described():
        yield DistContext()
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    context = DistContext(
        rank=rank, local_rank=int(os.environ.get("LOCAL_RANK", 0)), world_size=world_size
    )
    if dist.is_initialized():  # by the launcher
        yield context
        return
    _warn_of_shared_store(context)
    store = _open_store(rank, world_size, join_timeout_s)
    _await_all(store, rank, world_size, join_timeout_s)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=peer_timeout_s),
    )
    try:
        yield context
    finally:
        dist.destroy_process_group()


def _open_store(rank: int, world_size: int, timeout_s: float) -> dist.Store:
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    agent_hosts_it = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        return dist.TCPStore(
            host,
            int(port),
            world_size,
            is_master=rank == 0 and not agent_hosts_it,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
    except dist.DistError as error:
        raise UserError(
            f"rank {rank} did not reach rank 0 at MASTER_ADDR:MASTER_PORT = {host}:{port} within "
            f"{timeout_s:g} s; start rank 0 there, or set both to where it listens "
            f"({str(error).splitlines()[0]})"
        ) from None


def _await_all(store: dist.Store, rank: int, world_size: int, timeout_s: float) -> None:
    """Returns when all have come; rank 0 decides whether they have, so that all hear the same."""
    store.set(f"{_KEYS}/joined/{rank}", "yes")
    deadline = time.monotonic() + timeout_s
    if rank == 0:
        missing = list(range(world_size))
        while missing and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            missing = [r for r in missing if not store.check([f"{_KEYS}/joined/{r}"])]
        store.set(f"{_KEYS}/missing", ", ".join(map(str, missing)))
        others = [r for r in range(1, world_size) if r not in missing]
        _await(store, [f"{_KEYS}/heard/{r}" for r in others])  # before the store ends with us
        absent = ", ".join(map(str, missing))
    else:
        try:
            store.wait([f"{_KEYS}/missing"], timedelta(seconds=timeout_s + _GRACE_S))
            absent = store.get(f"{_KEYS}/missing").decode()
            store.set(f"{_KEYS}/heard/{rank}", "yes")
        except dist.DistError:
            raise UserError(
                f"rank 0 left while rank {rank} waited for the others; its own message says why"
            ) from None
    if absent:
        raise UserError(
            f"of {world_size} processes rank {absent} did not join within {timeout_s:g} s; start "
            "them with the same MASTER_ADDR and MASTER_PORT, or start fewer (WORLD_SIZE, torchrun "
            "--nnodes)"
        )


def _await(store: dist.Store, keys: list[str]) -> None:
    deadline = time.monotonic() + _GRACE_S
    while not all(store.check([key]) for key in keys) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _warn_of_shared_store(context: DistContext) -> None:
    # Restarted workers would read the addresses of the dead ones from it and wait for ever.
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if context.is_main and shared and restarts > 0:
        print(
            "warning: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or a restart after a "
            "failure may hang",
            file=sys.stderr,
        )

"""Joins the process group that the environment describes, as torchrun and Slurm scripts set it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from pipeline.core.errors import UserError
from pipeline.distributed.context import DistContext

_GRACE_S = 5.0
_RELEASE_S = 0.1


def is_described() -> bool:
    """Whether RANK and WORLD_SIZE say that this process is one of a job's."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(
    device: str, join_timeout_s: float, peer_timeout_s: float = 1800
) -> Iterator[DistContext]:
    """Yields the rank of this process in the job, with the default group initialised.

    Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. Raises UserError that names the
    ranks that did not join within `join_timeout_s`. A collective fails when another process has
    not answered for `peer_timeout_s`, in which the main one may be writing a snapshot.
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
        # The threads of Gloo drop their last work only while they hold the GIL. If DDP is freed, or
        # Python exits, before that, the process hangs or aborts.
        time.sleep(_RELEASE_S)
        dist.destroy_process_group()


def _open_store(rank: int, world_size: int, timeout_s: float) -> dist.Store:
    # As `dist.rendezvous("env://")` does, which would wait for all ranks and not name the absent.
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    try:
        return dist.TCPStore(
            host,
            int(port),
            world_size,
            is_master=rank == 0 and not _is_store_of_agent(),
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
    """Returns when all have joined; rank 0 decides whether they have, so that all say the same."""
    store.set(f"joined/{rank}", "")
    joined = [f"joined/{r}" for r in range(world_size)]
    try:
        if rank == 0:
            with suppress(dist.DistStoreError):
                store.wait(joined, timedelta(seconds=timeout_s))
            absent = ", ".join(str(r) for r in range(world_size) if not store.check([joined[r]]))
            store.set("absent", absent)
        else:
            store.wait(["absent"], timedelta(seconds=timeout_s + _GRACE_S))
            absent = store.get("absent").decode()
            store.set(f"read/{rank}", "")
    except dist.DistError:
        raise UserError(
            f"rank 0 left while rank {rank} waited for the others; its own message says why"
        ) from None
    if not absent:
        return
    if rank == 0:  # the store ends with this process
        read = [f"read/{r}" for r in range(1, world_size) if store.check([joined[r]])]
        with suppress(dist.DistError):
            store.wait(read, timedelta(seconds=_GRACE_S))
    raise UserError(
        f"of {world_size} processes rank {absent} did not join within {timeout_s:g} s; start "
        "them with the same MASTER_ADDR and MASTER_PORT, or start fewer (WORLD_SIZE, torchrun "
        "--nnodes)"
    )


def _is_store_of_agent() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _warn_of_shared_store(context: DistContext) -> None:
    # Restarted workers would read the addresses of the dead ones from it and wait for ever.
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if context.is_main and _is_store_of_agent() and restarts > 0:
        print(
            "warning: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or a restart after a "
            "failure may hang",
            file=sys.stderr,
        )

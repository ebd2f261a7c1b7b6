"""Starts the processes of a small job, with the environment that several hosts would give them."""

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from stages.entry import run_stage
from tests.support.forks import FORKS
from tests.support.processes import free_port


@dataclass(frozen=True)
class Worker:
    """One process of a job and what it says."""

    process: BaseProcess
    log: Path


def start(
    folder: Path,
    shards: Path,
    world_size: int,
    changes: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ranks: Sequence[int] | None = None,
) -> list[Worker]:
    """Starts `ranks` (all) of a job; `changes` to TINY are for all, or one each."""
    everybodys = [changes] * world_size if isinstance(changes, Mapping) else list(changes)
    return start_module(
        folder,
        "tests.distributed.train_worker",
        [[str(folder), str(shards), json.dumps({"": own})] for own in everybodys],
        ranks,
    )


def start_module(
    folder: Path,
    module: str,
    arguments: Sequence[Sequence[str]],
    ranks: Sequence[int] | None = None,
) -> list[Worker]:
    """Starts `ranks` (all) of a job of `module.main`, with arguments for each; logs in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    workers = []
    for rank in range(len(arguments)) if ranks is None else ranks:
        environment = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(len(arguments)),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        log = folder / f"rank-{rank}.log"
        log.touch()
        process = FORKS.Process(target=_run, args=(module, arguments[rank], environment, log))
        process.start()
        workers.append(Worker(process, log))
    return workers


def _run(module: str, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """What a process does: as `python -m module` would."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    sys.argv = [module, *arguments]
    run_stage(importlib.import_module(module).main)


def finish(workers: list[Worker], timeout_s: float = 300) -> list[tuple[int | None, str]]:
    """(exit code, output) of each; kills them all when one takes too long."""
    try:
        for worker in workers:
            worker.process.join(timeout_s)
            assert worker.process.exitcode is not None, worker.log.read_text()
        return [(worker.process.exitcode, worker.log.read_text()) for worker in workers]
    finally:
        for worker in workers:
            worker.process.kill()


def train(folder: Path, shards: Path, world_size: int, changes: Mapping[str, Any]) -> dict:
    """Runs a job to its end; the state of its newest checkpoint."""
    for code, output in finish(start(folder, shards, world_size, changes)):
        assert code == 0, output
    return newest_state(folder)


def train_in_turn(
    folder: Path, shards: Path, world_size: int, systems: Mapping[str, Mapping[str, Any]]
) -> None:
    """Runs one job that trains each system to its end in a folder of its name."""
    arguments = [str(folder), str(shards), json.dumps(systems)]
    workers = start_module(folder, "tests.distributed.train_worker", [arguments] * world_size)
    for code, output in finish(workers):
        assert code == 0, output


def newest_state(folder: Path) -> dict:
    """The newest checkpoint below a job's folder."""
    newest = max(folder.glob("runs/*/checkpoints/checkpoint-*.pt"))
    return torch.load(newest, weights_only=True)

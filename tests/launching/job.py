"""Starts the processes of a small job as a script on several hosts would."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.conftest import ROOT


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(
    folder: Path,
    shards: Path,
    world_size: int,
    changes: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ranks: Sequence[int] | None = None,
) -> list[subprocess.Popen]:
    """Starts `ranks` (all) of a job; `changes` to TINY are for all, or one each."""
    everybodys = [changes] * world_size if isinstance(changes, Mapping) else list(changes)
    return start_module(
        "tests.launching.train_worker",
        [[str(folder), str(shards), json.dumps({"": own})] for own in everybodys],
        ranks,
    )


def start_module(
    module: str, arguments: Sequence[Sequence[str]], ranks: Sequence[int] | None = None
) -> list[subprocess.Popen]:
    """Starts `ranks` (all) of a job of `python -m module`, with arguments for each rank."""
    port = free_port()
    processes = []
    for rank in range(len(arguments)) if ranks is None else ranks:
        environment = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(len(arguments)),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments[rank]],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return processes


def finish(processes: list[subprocess.Popen], timeout_s: float = 300) -> list[tuple[int, str]]:
    """(exit code, output) of each; kills them all when one takes too long."""
    try:
        ended = []
        for process in processes:
            output, _ = process.communicate(timeout=timeout_s)
            ended.append((process.returncode, output))
        return ended
    finally:
        for process in processes:
            process.kill()


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
    for code, output in finish(
        start_module("tests.launching.train_worker", [arguments] * world_size)
    ):
        assert code == 0, output


def newest_state(folder: Path) -> dict:
    """The newest checkpoint below a job's folder."""
    newest = max(folder.glob("runs/*/checkpoints/checkpoint-*.pt"))
    return torch.load(newest, weights_only=True)

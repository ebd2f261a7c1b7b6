"""Runs a stage in several processes of this machine, under torchrun's agent.

The agent stops all workers when one dies and restarts them from the last checkpoint. Workers leave
their outcomes as files in a folder of the launcher.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.stopping import LAUNCHER_VARIABLE
from pipeline.distributed.work import WorkerOutcome, raise_outcome
from pipeline.storage.atomic import write_json

_OUTCOMES_VARIABLE = "SAGAN_LAB_OUTCOMES"
"""Environment variable with the folder of the outcomes; absent under another launcher."""


def run_in_torchrun(
    module: str, arguments: Sequence[str], num_workers: int, max_failures: int, num_threads: int
) -> None:
    """Runs `python -m module arguments` in `num_workers` processes of `num_threads` threads each.

    Raises UserError and Preempted as the workers did, and RuntimeError when they failed more than
    `max_failures` times. SIGTERM and SIGINT to this process are forwarded to the workers.
    """
    with tempfile.TemporaryDirectory(prefix="sagan-lab-") as outcomes:
        command = [
            sys.executable,
            *("-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={num_workers}"),
            *(f"--max-restarts={max_failures}", "--monitor-interval=0.5", "--rdzv-backend=c10d"),
            *("--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "-m", module, *arguments),
        ]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(num_threads),
            # In a shared store, restarted workers would find the addresses of the dead ones.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            _OUTCOMES_VARIABLE: outcomes,
            LAUNCHER_VARIABLE: str(os.getpid()),
        }
        # In a session of its own, so that Ctrl-C reaches it once, through this process.
        agent = subprocess.Popen(command, env=environment, start_new_session=True)
        with _forwarded_signals(agent):
            code = agent.wait()
        if not _raise_recorded(Path(outcomes)):
            raise RuntimeError(
                f"the workers failed more than runtime.max_failures = {max_failures} times "
                f"(torchrun ended with {code}); their messages stand above"
            )


@contextmanager
def record_outcome(rank: int) -> Iterator[None]:
    """Catches Preempted and UserError and records the outcome for `run_in_torchrun`.

    Under another launcher it does nothing.
    """
    folder = os.environ.get(_OUTCOMES_VARIABLE)
    if folder is None:
        yield
        return
    outcome = WorkerOutcome()
    try:
        yield
    except (Preempted, UserError) as error:
        outcome = WorkerOutcome.of(error)
    write_json(Path(folder) / f"{rank}.json", asdict(outcome))


def _raise_recorded(folder: Path) -> bool:
    """Raises the recorded outcome; returns whether the main process ended well."""
    outcomes = {
        int(path.stem): WorkerOutcome(**json.loads(path.read_text(encoding="utf-8")))
        for path in folder.glob("*.json")
    }
    raise_outcome(outcomes)
    return 0 in outcomes


@contextmanager
def _forwarded_signals(agent: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, frame: FrameType | None) -> None:
        if agent.poll() is None:
            agent.send_signal(signal.SIGTERM)

    previous = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""Runs a stage in several processes of this machine, under torchrun's agent.

The agent ends all workers when one dies and starts them again from the last checkpoint.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.distributed.interruption import LAUNCHER_VARIABLE
from pipeline.distributed.outcome import OUTCOME_VARIABLE, raise_noted


def run_in_torchrun(
    module: str, arguments: Sequence[str], num_workers: int, max_failures: int, num_threads: int
) -> None:
    """`python -m module arguments` in `num_workers` processes, with `num_threads` threads each.

    Raises UserError and Preempted as the workers did, and RuntimeError when they failed more than
    `max_failures` times. A SIGTERM or SIGINT to this process goes on to the workers.
    """
    with tempfile.TemporaryDirectory(prefix="sagan-lab-") as notes:
        command = [
            sys.executable,
            *("-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={num_workers}"),
            *(f"--max-restarts={max_failures}", "--monitor-interval=0.5", "--rdzv-backend=c10d"),
            *("--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", "-m", module, *arguments),
        ]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(num_threads),
            # Workers that are restarted would find the addresses of the dead ones in a shared one.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            OUTCOME_VARIABLE: notes,
            LAUNCHER_VARIABLE: str(os.getpid()),
        }
        # A session of its own: Ctrl-C reaches it once, through this process.
        agent = subprocess.Popen(command, env=environment, start_new_session=True)
        with _passing_signals_on(agent):
            code = agent.wait()
        if not raise_noted(Path(notes)):
            raise RuntimeError(
                f"the workers failed more than runtime.max_failures = {max_failures} times "
                f"(torchrun ended with {code}); their messages stand above"
            )


@contextmanager
def _passing_signals_on(agent: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        if agent.poll() is None:
            agent.send_signal(signal.SIGTERM)

    previous = {n: signal.signal(n, pass_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

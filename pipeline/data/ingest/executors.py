"""Executors: ways to run the tasks of an ingest, serially or in processes of this machine."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from pipeline.core.errors import UserError
from pipeline.data.ingest.shard_task import ShardResult, ShardTask, make_shard

Executor = Callable[[Sequence[ShardTask]], Iterator[ShardResult]]
"""Makes the shards of all tasks and yields their results in any order."""

_FEW_ITEMS = 4096
"""Up to this many images, processes take longer to start than one takes to finish."""


def run_serially(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
    """Makes one shard after the other."""
    return map(make_shard, tasks)


def process_executor(num_workers: int | None) -> Executor:
    """An executor of `num_workers` processes, None: one for each core; serial for few images."""
    num_workers = num_workers or len(os.sched_getaffinity(0))

    def run(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        is_small = sum(len(task.items) for task in tasks) <= _FEW_ITEMS
        if is_small or min(num_workers, len(tasks)) < 2:
            return run_serially(tasks)
        return run_in_processes(tasks, min(num_workers, len(tasks)))

    return run


def run_in_processes(tasks: Sequence[ShardTask], num_workers: int) -> Iterator[ShardResult]:
    """Makes the shards in new processes, which end with this one, however it ends.

    Raises what a task raises, and UserError when the system kills a worker.
    """
    # Not forked: a copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, BaseProcess] = {}
    waiting = list(reversed(tasks))
    try:
        for _ in range(num_workers):
            ours, theirs = context.Pipe()
            workers[ours] = context.Process(target=_work, args=(theirs,), daemon=True)
            workers[ours].start()
            theirs.close()  # so that the end of the worker is the end of the pipe
            ours.send(waiting.pop())
        num_running = num_workers
        while num_running:
            for pipe in multiprocessing.connection.wait(list(workers)):
                assert isinstance(pipe, Connection)
                try:
                    result = pipe.recv()
                except (EOFError, ConnectionResetError):
                    _explain_end(workers[pipe])
                if isinstance(result, BaseException):
                    raise result
                if waiting:
                    pipe.send(waiting.pop())
                else:
                    num_running -= 1
                yield result
    finally:
        for pipe, process in workers.items():
            pipe.close()
            process.terminate()
        for process in workers.values():
            process.join()


def _work(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        while True:
            task = pipe.recv()
            try:
                pipe.send(make_shard(task))
            except Exception as error:  # the parent raises it, whatever it is
                pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # an incomplete shard is made anew


def _explain_end(process: BaseProcess) -> None:
    process.join()
    if process.exitcode == -signal.SIGKILL:
        raise UserError(
            "the system killed a worker of the ingest, probably for lack of memory; lower "
            "runtime.ingest_workers or data.shard_rows, and run the same command to continue"
        )
    raise RuntimeError(f"a worker of the ingest ended with exit code {process.exitcode}")

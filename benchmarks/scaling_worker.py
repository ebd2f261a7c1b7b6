"""One of the two processes of `benchmarks.scaling`, on a core of its own."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.preset import PureSteps
from pipeline.core.allocator import keep_freed_memory
from pipeline.distributed.context import DistContext
from pipeline.distributed.group import process_group
from pipeline.distributed.stopping import StopSync
from pipeline.training.settings import TrainSettings

WORLD_SIZE = 2
_JOIN_S = 120.0


def work(rank: int, core: int, port: int, settings: TrainSettings, orders: Connection) -> None:
    """Answers "ready", then each order (way, number of steps) with three sums of seconds.

    They are those on the clock, of the processor, and in messages within the networks. The order
    None ends it.
    """
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    keep_freed_memory()
    place = {"RANK": rank, "WORLD_SIZE": WORLD_SIZE, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    with process_group("cpu", _JOIN_S) as context, _timed_messages() as messages_s:
        ways = _Ways(settings, context)
        orders.send("ready")
        while (order := orders.recv()) is not None:
            way, num_steps = order
            messages_s[0] = 0.0
            elapsed_s, processor_s = ways.run(way, num_steps)
            orders.send((elapsed_s, processor_s, messages_s[0]))
        ways.stop_sync.close()


class _Ways:
    """This process's own run, and its part of the common one of twice the batch."""

    def __init__(self, settings: TrainSettings, context: DistContext) -> None:
        common = replace(settings, batch=settings.batch * context.world_size)
        self.stop_sync = StopSync(lambda: None, context)
        self._common = PureSteps(common, "cpu", context)
        self._ways: Mapping[str, Callable[[], None]] = {
            "own": PureSteps(settings, "cpu"),
            "common": self._common_step,
            "gradients apart": self._step_with_gradients_apart,
        }

    def run(self, way: str, num_steps: int) -> tuple[float, float]:
        """Seconds on the clock and of the processor."""
        step = self._ways[way]
        started, processor_started = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            step()
        return time.perf_counter() - started, time.process_time() - processor_started

    def _common_step(self) -> None:
        self.stop_sync.ask()
        self._common()

    def _step_with_gradients_apart(self) -> None:
        with self._common.state.D_ddp.no_sync(), self._common.state.G_ddp.no_sync():
            self._common_step()


@contextmanager
def _timed_messages() -> Iterator[list[float]]:
    """Inside, the one number grows by the seconds in collectives that training calls itself."""
    total_s = [0.0]
    originals = {name: getattr(dist, name) for name in ("all_gather", "all_reduce")}

    def timed(collective: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            answer = collective(*arguments, **options)
            total_s[0] += time.perf_counter() - started
            return answer

        return call

    for name, collective in originals.items():
        setattr(dist, name, timed(collective))
    try:
        yield total_s
    finally:
        for name, collective in originals.items():
            setattr(dist, name, collective)

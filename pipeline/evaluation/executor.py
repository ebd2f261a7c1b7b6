"""Blocks of images, worked on by the threads of all processes and taken up in their order.

What a block gives depends neither on who worked on it nor on how many there are: on the CPU each
operation has one thread, and several blocks are under way at a time.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self, TypeVar

import torch

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.context import DistContext

MAX_THREADS = 8
"""Of a process: each holds a block of images and their activations in memory."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ParallelExecutor:
    """The threads and processes that share the images of a pass."""

    context: DistContext = field(default_factory=DistContext)
    num_threads: int = 1
    """Blocks that this process has under way at a time."""
    should_stop: Callable[[], str | None] = lambda: None
    """Gives a reason to stop early."""

    @classmethod
    def on(
        cls,
        device: str,
        context: DistContext = DistContext(),  # noqa: B008
        should_stop: Callable[[], str | None] = lambda: None,
    ) -> Self:
        """As many threads as torch has for one operation; one beside a GPU."""
        num_threads = 1
        if not device.startswith("cuda"):
            num_threads = min(MAX_THREADS, torch.get_num_threads())
        return cls(context=context, num_threads=num_threads, should_stop=should_stop)

    def for_blocks(
        self, num_blocks: int, work: Callable[[int], Result], take: Callable[[Result], None]
    ) -> None:
        """Works on blocks [0, num_blocks); the main process takes the results in that order.

        `work` runs in several threads at a time and gives what can be pickled. Raises UserError on
        all when it does on any, and Preempted on all when any is to stop. A collective.
        """
        counts = self.context.gather(self.num_threads)
        first, num_slots = sum(counts[: self.context.rank]), sum(counts)
        num_rounds = -(-num_blocks // num_slots)
        with ThreadPoolExecutor(self.num_threads, initializer=_one_thread) as pool:
            rounds: deque[list[Future[Result]]] = deque()
            try:
                for number in range(num_rounds + 1):
                    if number < num_rounds:  # begun before the round before it is taken up
                        start = number * num_slots + first
                        own = range(start, min(start + self.num_threads, num_blocks))
                        rounds.append([pool.submit(work, block) for block in own])
                    if number > 0:
                        self._take_up(rounds.popleft(), take)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _take_up(self, futures: list[Future[Result]], take: Callable[[Result], None]) -> None:
        error: UserError | None = None
        results = []
        try:
            results = [future.result() for future in futures]
        except UserError as own:
            error = own
        self._agree(error)
        for part in self.context.gather_to_main(results):
            for result in part:
                take(result)

    def _agree(self, error: UserError | None) -> None:
        told = self.context.gather((None if error is None else str(error), self.should_stop()))
        for rank, (message, _) in enumerate(told):
            if message is not None:
                raise UserError(f"rank {rank}: {message}" if len(told) > 1 else message)
        for _, reason in told:
            if reason is not None:
                raise Preempted(f"{reason}; run the same command to begin again")


def blocks_of(count: int, size: int) -> list[range]:
    """Consecutive ranges of `size` that cover [0, count); the last one may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _one_thread() -> None:
    torch.set_num_threads(1)

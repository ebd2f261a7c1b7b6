"""Parallel execution over blocks of images, with results that do not depend on the parallelism.

On the CPU each operation has one thread, and several blocks are in progress at a time; results are
consumed in the order of the blocks.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, TypeVar

import torch
from threadpoolctl import threadpool_limits

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.context import DistContext

MAX_THREADS = 8
"""Of a process: each holds a block of images and their activations in memory."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ParallelExecutor:
    """The threads and processes that share the blocks of an extraction."""

    context: DistContext = field(default_factory=DistContext)
    num_threads: int = 1
    """Blocks that this process works on at a time."""
    should_stop: Callable[[], str | None] = lambda: None
    """Returns a reason to stop early."""

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
        """Runs `work` on blocks [0, num_blocks); the main process takes the results in that order.

        `work` runs in several threads and returns what can be pickled. Raises UserError on
        all when it does on any, and Preempted on all when any is to stop. A collective.
        """
        counts = self.context.gather(self.num_threads)
        first, num_slots = sum(counts[: self.context.rank]), sum(counts)
        num_rounds = -(-num_blocks // num_slots)
        with ThreadPoolExecutor(self.num_threads, initializer=_one_thread) as pool:
            rounds: deque[list[Future[Result]]] = deque()
            try:
                for number in range(num_rounds + 1):
                    if number < num_rounds:  # begun before the previous round is consumed
                        start = number * num_slots + first
                        own = range(start, min(start + self.num_threads, num_blocks))
                        rounds.append([pool.submit(work, block) for block in own])
                    if number > 0:
                        self._consume(rounds.popleft(), take)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _consume(self, futures: list[Future[Result]], take: Callable[[Result], None]) -> None:
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
        found = self.context.gather((None if error is None else str(error), self.should_stop()))
        for rank, (message, _) in enumerate(found):
            if message is not None:
                raise UserError(f"rank {rank}: {message}" if len(found) > 1 else message)
        for _, reason in found:
            if reason is not None:
                raise Preempted(f"{reason}; run the same command to begin again")


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within it arithmetic is full float32 and does not depend on the number of threads.

    GPUs use neither TF32 nor algorithms whose result varies. On the CPU each operation of this
    thread has one core, for convolutions and eigenvalues differ in their last bits with the number
    of threads; a `ParallelExecutor` uses the other cores, block by block.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            threadpool_limits(1),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_num_threads(num_threads)


def blocks_of(count: int, size: int) -> list[range]:
    """Consecutive ranges of `size` that cover [0, count); the last one may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _one_thread() -> None:
    torch.set_num_threads(1)

"""Work on blocks of images, shared by the threads of all processes and taken up in order.

What a block gives depends neither on who worked on it nor on how many there are: each operation on
the CPU has one thread, and several blocks are under way at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from pipeline.errors import Preempted, UserError
from pipeline.training.processes import Processes

MAX_THREADS = 8
"""Of a process: each holds a block in memory."""

Result = TypeVar("Result")


def num_block_threads(device: str) -> int:
    """Blocks that this process has under way at a time: one a core, or one on a GPU."""
    return 1 if device.startswith("cuda") else min(MAX_THREADS, torch.get_num_threads())


def for_blocks(
    num_blocks: int,
    work: Callable[[int], Result],
    take: Callable[[Result], None],
    *,
    processes: Processes,
    num_threads: int,
    should_stop: Callable[[], str | None] = lambda: None,
) -> None:
    """Works on blocks [0, num_blocks) and lets the main process `take` the results in their order.

    `work` runs in `num_threads` threads at a time and gives what can be pickled. Raises UserError
    on all when it does on any, and Preempted on all when any has a reason to stop. A collective.
    """
    threads_by_rank = processes.gather(num_threads)
    first_slot, num_slots = sum(threads_by_rank[: processes.rank]), sum(threads_by_rank)
    num_rounds = -(-num_blocks // num_slots)

    def blocks_of(round_: int) -> range:
        start = round_ * num_slots + first_slot
        return range(start, min(start + num_threads, num_blocks))

    with ThreadPoolExecutor(num_threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        ahead: deque[list[Future[Result]]] = deque()
        try:
            for round_ in range(num_rounds + 1):
                if round_ < num_rounds:  # the next round is begun before the last is taken up
                    ahead.append([pool.submit(work, block) for block in blocks_of(round_)])
                if round_ > 0:
                    own, error = _results(ahead.popleft())
                    _agree(error, should_stop(), processes)
                    for results in processes.gather_to_main(own):
                        for result in results:
                            take(result)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _results(futures: list[Future[Result]]) -> tuple[list[Result], UserError | None]:
    results = []
    for future in futures:
        try:
            results.append(future.result())
        except UserError as error:
            return [], error
    return results, None


def _agree(error: UserError | None, stop: str | None, processes: Processes) -> None:
    if processes.several:
        told = processes.gather((None if error is None else str(error), stop))
        errors, stops = zip(*told, strict=True)
        for rank, message in enumerate(errors):
            if message is not None:
                raise UserError(f"rank {rank}: {message}")
        stop = next((reason for reason in stops if reason is not None), None)
    if error is not None:
        raise error
    if stop is not None:
        raise Preempted(f"{stop}; run the same command to begin again")


def starts_of(count: int, size: int) -> Iterator[range]:
    """Consecutive ranges of `size` that cover [0, count); the last one is shorter."""
    return (range(start, min(start + size, count)) for start in range(0, count, size))

"""Arithmetic for metrics: full float32, and sums whose order depends on no number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within it GPUs convolve in float32, not TF32, and with algorithms that repeat their result.

    On the CPU each operation of this thread has one core, for convolutions and eigenvalues differ
    in their last bits with the number of threads: that would make a metric depend on how many
    processes share a machine. Work is spread by a `ParallelExecutor` instead, block by block.
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

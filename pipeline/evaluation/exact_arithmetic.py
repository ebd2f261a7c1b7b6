"""Full float32 for everything that a metric is computed from."""

from contextlib import AbstractContextManager

import torch


def exact_arithmetic() -> AbstractContextManager[None]:
    """Within it GPUs convolve in float32, not TF32, and with algorithms that repeat their result.

    On the CPU nothing changes: there both hold anyway.
    """
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags

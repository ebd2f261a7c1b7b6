"""Where a network computes in bf16, what needs more is widened."""

import torch


def widen(x: torch.Tensor) -> torch.Tensor:
    """float32 at least: bf16 becomes float32, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))

"""Normalisation by the statistics of the batch: all of it, parts of it, or over all processes.

B batch, C channels; channels are normalised over batch and space.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx

from models.precision import widen


def normalize_ghost(
    x: torch.Tensor,
    ghost_batch: int,
    eps: float,
    gain: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Every `ghost_batch` consecutive images by their own statistics (Hoffer et al. 2017, 3.2).

    (B, C, H, W) -> (B, C, H, W); gain and bias are (C,). Raises ValueError when the parts do not
    fill the batch.
    """
    if len(x) % ghost_batch != 0:
        raise ValueError(f"a batch of {len(x)} does not divide into ghost batches of {ghost_batch}")
    return torch.cat(
        [
            F.batch_norm(part, None, None, gain, bias, training=True, eps=eps)
            for part in x.split(ghost_batch)
        ]
    )


def normalize_global(x: torch.Tensor, eps: float) -> torch.Tensor:
    """By the statistics over all processes of the default group; each must call this.

    (B, C, H, W) -> (B, C, H, W), B equal on all processes. Differentiable once: gradients take
    every process's outputs into account.
    """
    return _GlobalNormalization.apply(x, eps)


class _GlobalNormalization(torch.autograd.Function):
    """One gather of means and variances forward, one sum of two vectors backward."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, eps: float) -> torch.Tensor:
        var, mean = torch.var_mean(widen(x), dim=(0, 2, 3), correction=0)  # (C,)
        own = torch.stack([mean, var])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        means, variances = torch.stack(gathered).unbind(1)  # (P, C), P processes
        mean = means.mean(0)
        # Chan's formula: no difference of large squares, as E[x^2] - E[x]^2 would be.
        var = (variances + (means - mean).square()).mean(0)
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, mean, scale)
        return F.batch_norm(x, mean, var, eps=eps)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, mean, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        mean, scale = mean[:, None, None], scale[:, None, None]
        wide = grad.to(scale.dtype)
        normal = (x - mean) * scale
        sums = torch.stack([wide.sum(dim=(0, 2, 3)), (wide * normal).sum(dim=(0, 2, 3))])
        dist.all_reduce(sums)
        count = grad.numel() // grad.shape[1] * dist.get_world_size()
        along_mean, along_normal = (sums / count)[:, :, None, None]
        return ((wide - along_mean - normal * along_normal) * scale).to(x.dtype), None

"""Self-attention as released (brain-research/self-attention-gan non_local.py:48-81).

It differs from the text of the paper (section 3): keys and values are pooled 2x2, values have C/2
channels where the text has C/8, and the four 1x1 convolutions have no bias. Both leave out the
scaling by 1/sqrt(d).

B batch, C channels, H x W features, N = H W queries, M = N / 4 keys.
"""

import torch
import torch.nn.functional as F
from torch import nn

from models.layers import Conv1x1


class SelfAttention(nn.Module):
    """x + gamma * attention(x); gamma starts at 0, so that the block starts as the identity."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        qk_channels = max(1, num_channels // 8)
        v_channels = max(1, num_channels // 2)
        self.query = Conv1x1(num_channels, qk_channels, bias=False)
        self.key = Conv1x1(num_channels, qk_channels, bias=False)
        self.value = Conv1x1(num_channels, v_channels, bias=False)
        self.out = Conv1x1(v_channels, num_channels, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self._project(x)
        if x.is_cuda:
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)  # (B, N, C/2)
        else:  # there the fused kernel is 4x slower than its parts
            attended = torch.softmax(q @ k.transpose(1, 2), dim=2) @ v
        return self._merge(x, attended)

    def forward_with_map(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) -> (B, C, H, W) and the weights (B, N, M) float32, whose rows sum to 1."""
        q, k, v = self._project(x)
        weights = torch.softmax((q @ k.transpose(1, 2)).float(), dim=2)  # (B, N, M)
        return self._merge(x, weights.to(v.dtype) @ v), weights

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q = _positions(self.query(x))  # (B, N, C/8)
        k = _positions(F.max_pool2d(self.key(x), 2))  # (B, M, C/8)
        v = _positions(F.max_pool2d(self.value(x), 2))  # (B, M, C/2)
        return q, k, v

    def _merge(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        B, _, H, W = x.shape
        attended = attended.transpose(1, 2).reshape(B, -1, H, W)  # (B, C/2, H, W)
        return x + self.gamma.to(x.dtype) * self.out(attended)


def _positions(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)

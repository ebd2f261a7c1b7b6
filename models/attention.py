"""Self-attention (SAGAN paper, section 3) in its two published forms, and its residual control.

`released` is what brain-research/self-attention-gan runs (non_local.py:48-81): keys and values are
pooled 2x2 and values have C/2 channels. `paper` is the text: nothing is pooled and values have C/8
channels. In both the 1x1 convolutions have no bias and nothing is scaled by 1/sqrt(d).

B batch, C channels, H x W features, N = H W queries, M keys: N / 4 as released, N in the text.
"""

import torch
import torch.nn.functional as F
from torch import nn

from models.layers import Conv1x1, Conv3x3, widen


def attention_channels(num_channels: int, form: str) -> tuple[int, int]:
    """Channels of queries and keys, and of values."""
    qk_channels = max(1, num_channels // 8)
    return qk_channels, max(1, num_channels // 2) if form == "released" else qk_channels


class SelfAttention(nn.Module):
    """x + gamma * attention(x); gamma starts at 0, so that the block starts as the identity."""

    def __init__(self, num_channels: int, form: str = "released") -> None:
        super().__init__()
        qk_channels, v_channels = attention_channels(num_channels, form)
        self.pool = 2 if form == "released" else 1
        self.query = Conv1x1(num_channels, qk_channels, bias=False)
        self.key = Conv1x1(num_channels, qk_channels, bias=False)
        self.value = Conv1x1(num_channels, v_channels, bias=False)
        self.out = Conv1x1(v_channels, num_channels, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self._project(x)
        if x.is_cuda:
            # Fused kernels need a dimension of heads; without it the weights are materialised.
            q, k, v = q[:, None], k[:, None], v[:, None]  # (B, 1, N or M, channels)
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0]  # (B, N, V)
        else:  # on a CPU the fused kernel is 4x slower than its parts
            attended = torch.softmax(q @ k.transpose(1, 2), dim=2) @ v
        return self._merge(x, attended)

    def forward_with_map(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) -> (B, C, H, W) and the weights (B, N, M) float32, whose rows sum to 1."""
        q, k, v = self._project(x)
        weights = torch.softmax(widen(q @ k.transpose(1, 2)), dim=2)  # (B, N, M)
        return self._merge(x, weights.to(v.dtype) @ v), weights

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q = _positions(self.query(x))  # (B, N, C/8)
        k = _positions(self._pool(self.key(x)))  # (B, M, C/8)
        v = _positions(self._pool(self.value(x)))  # (B, M, V)
        return q, k, v

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.pool == 1 else F.max_pool2d(x, self.pool)

    def _merge(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        B, _, H, W = x.shape
        attended = attended.transpose(1, 2).reshape(B, -1, H, W)  # (B, V, H, W)
        return x + self.gamma.to(x.dtype) * self.out(attended)


def _positions(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)


class ResidualControl(nn.Module):
    """x + gamma * conv1x1(relu(conv(relu(x)))): the control of the paper's Table 1 for attention.

    It has exactly as many parameters as attention. A hidden channel of a 3x3 convolution has 9C
    weights in and C out, one of a 1x1 convolution C and C; attention's four convolutions have
    2C(K + V), K channels of queries and V of values. So 5 h3 + h1 = K + V: in the released form
    C/8 channels from 3x3 and none from 1x1 wherever 8 divides C. As in attention the convolutions
    have no bias, are spectrally normalised, and gamma starts at 0.
    """

    def __init__(self, num_channels: int, form: str = "released") -> None:
        super().__init__()
        self.num_wide, self.num_narrow = divmod(sum(attention_channels(num_channels, form)), 5)
        self.wide = Conv3x3(num_channels, self.num_wide, bias=False) if self.num_wide else None
        self.narrow = (
            Conv1x1(num_channels, self.num_narrow, bias=False) if self.num_narrow else None
        )
        self.out = Conv1x1(self.num_wide + self.num_narrow, num_channels, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = F.relu(x)
        hidden = [layer(h) for layer in (self.wide, self.narrow) if layer is not None]
        return x + self.gamma.to(x.dtype) * self.out(F.relu(torch.cat(hidden, dim=1)))

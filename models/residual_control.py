"""The residual block that stands in attention's place in the control of the paper's Table 1."""

import torch
import torch.nn.functional as F
from torch import nn

from models.attention import attention_channels
from models.layers import Conv1x1, Conv3x3


class ResidualControl(nn.Module):
    """x + gamma * conv1x1(relu(conv(relu(x)))), with exactly as many parameters as attention.

    A hidden channel of a 3x3 convolution costs 9C weights and C more on the way back, one of a 1x1
    convolution C and C; attention's four convolutions cost 2C(K + V), K channels of queries and
    V of values. So 5 h3 + h1 = K + V: in the released form C/8 channels from 3x3 and none from 1x1
    wherever 8 divides C. Like attention's, the convolutions have no bias, are spectrally
    normalised, and gamma starts at 0, so that the two blocks differ in what they compute alone.
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

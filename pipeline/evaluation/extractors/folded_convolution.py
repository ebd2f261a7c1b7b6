"""A convolution that holds the batch normalisation after it, and the ReLU after that."""

import threading

import torch
import torch.nn.functional as F
from torch import nn


class FoldedConvolution(nn.Module):
    """convolution, normalisation by fixed statistics and ReLU as one operation, channels last.

    On a CPU with oneDNN the weights are laid out for it once, and the ReLU is part of the
    convolution; elsewhere both are torch's usual ones.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = convolution.weight.double() * scale[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * scale
        self.register_buffer("weight", weight.to(dtype, memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(dtype))
        assert not isinstance(convolution.padding, str)
        self.stride, self.padding = convolution.stride, convolution.padding
        self.dilation, self.groups = convolution.dilation, convolution.groups
        self._packed: torch.Tensor | None = None
        self._packing = threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H', W') >= 0; every call has one height and width."""
        if x.device.type != "cpu" or not _has_onednn(x.dtype):
            return F.relu_(
                F.conv2d(
                    x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
                )
            )
        form = (self.padding, self.stride, self.dilation, self.groups)
        with self._packing:  # several threads extract at a time
            if self._packed is None:
                self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                    self.weight, *form, list(x.shape)
                )
        out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, *form, "relu", [], ""
        )
        return out


def _has_onednn(dtype: torch.dtype) -> bool:
    # The operations that torch's own compiler calls; they stand under no public name.
    onednn = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and hasattr(onednn, "_reorder_convolution_weight")
        and hasattr(onednn, "_convolution_pointwise")
        and (dtype == torch.float32 or bool(onednn._is_mkldnn_bf16_supported()))
    )

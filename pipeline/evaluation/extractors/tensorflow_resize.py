"""TensorFlow 1's bilinear resize, corners not aligned, as two matrix products.

The same positions and weights as torch-fidelity's `interpolate_bilinear_2d_like_tensorflow1x`,
which gathers the four neighbours of each pixel.
"""

from functools import lru_cache

import torch

TENSORFLOW_RESIZE = "bilinear as in TensorFlow 1 (corners not aligned, no antialiasing)"


def resize_as_tensorflow1(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (B, C, H, W) of any type as float32 (B, C, size, size), in the same range."""
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

"""Puts images through a network a few at a time."""

from collections.abc import Callable

import torch

Extract = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def batched(
    network: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], size: int, device: str
) -> Extract:
    """What `Extractor.extract` is, for a network of RGB images: uint8 (B, 3, H, W) on `device`.

    Grey images become three equal channels; `size` images go through at a time.
    """

    @torch.inference_mode()
    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rgb = images.expand(-1, 3, -1, -1)
        parts = [network(part.to(device)) for part in rgb.split(size)]
        features, logits = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
        return features, logits

    return extract

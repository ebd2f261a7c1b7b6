"""Weights for torch-fidelity's Inception that need no download: drawn, seeded, of its keys."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity


def random_inception_state() -> dict[str, torch.Tensor]:
    """A state dict of the right keys and shapes, under which activations keep their scale."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in _empty_network().state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # the published file has none
        if tensor.ndim > 1:
            scale = (2 / tensor[0].numel()) ** 0.5  # He et al. 2015, equation 10
            state[name] = scale * torch.randn(tensor.shape, generator=random)
        else:
            fill = 1.0 if name.endswith(("bn.weight", "running_var")) else 0.0
            state[name] = torch.full(tensor.shape, fill)
    return state


def write_random_inception(path: Path) -> None:
    """Writes `random_inception_state` as torch-fidelity reads it."""
    torch.save(random_inception_state(), path)


def _empty_network() -> nn.Module:
    fidelity: Any = import_torch_fidelity("feature_extractor_inceptionv3")

    class Unloaded(fidelity.FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            """Takes nothing: its own keys are what is wanted."""

    buffer = io.BytesIO()
    torch.save({}, buffer)
    buffer.seek(0)
    network: nn.Module = Unloaded("unloaded", ["2048"], feature_extractor_weights_path=buffer)
    return network

"""Parameter counts of the full-width networks, as logged by the reference implementations.

PyTorch-StudioGAN's training logs for SAGAN: attention after the generator's block that makes the
named size and after the discriminator's first block that does.
"""

import pytest
import torch

from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.discriminator import Discriminator
from models.generator import Generator
from tests.models import released


@pytest.mark.parametrize(
    ("resolution", "num_classes", "attention", "g_count", "d_count"),
    [
        (32, 10, 16, 4_386_308, 1_075_586),
        (64, 200, 32, 13_387_396, 19_752_642),
        (128, 1000, 64, 42_017_412, 39_448_258),
    ],
)
def test_counts(monkeypatch, resolution, num_classes, attention, g_count, d_count):
    monkeypatch.setattr(released, "spectral_norm", lambda layer: layer)  # slow, and adds none
    shared = {
        "resolution": resolution,
        "image_channels": 3,
        "num_classes": num_classes,
        "width": 64,
        "attention": (attention,),
    }
    with torch.device("meta"):
        ours = (
            Generator(GeneratorConfig(**shared, z_dim=128)),
            Discriminator(DiscriminatorConfig(**shared)),
        )
        plain = (
            released.Generator(resolution, num_classes, attention=(attention,)),
            released.Discriminator(resolution, num_classes, attention=(attention,)),
        )
    for networks in (ours, plain):
        counts = [sum(p.numel() for p in network.parameters()) for network in networks]
        assert counts == [g_count, d_count]

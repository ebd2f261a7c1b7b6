"""Conditional batch normalisation and standing statistics against their definitions."""

from dataclasses import replace

import pytest
import torch

from models.configuration import GeneratorConfig
from models.generator import Generator
from models.normalization import (
    BatchNorm,
    BatchStatistics,
    ConditionalBatchNorm,
    StandingNorm,
    set_standing_statistics,
)

TINY = GeneratorConfig(
    resolution=32, image_channels=1, num_classes=10, z_dim=16, width=2, attention=(16,)
)
EPS = 1e-3
STATISTICS = BatchStatistics(eps=EPS)


def _conditional() -> ConditionalBatchNorm:
    norm = ConditionalBatchNorm(num_classes=3, num_channels=4, statistics=STATISTICS).double()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table in (norm.gain, norm.bias):
            shape = table.weight.shape
            table.weight.copy_(torch.randn(shape, generator=draws, dtype=torch.float64))
    return norm


def _images() -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(5, 4, 3, 2, generator=draws, dtype=torch.float64) * 3 + 1


def _normalized(x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = x.var(dim=(0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (var + EPS).sqrt()


def test_conditional_batch_norm():
    norm, x = _conditional(), _images()
    y = torch.tensor([0, 2, 1, 1, 0])
    normal = _normalized(x)
    gain, bias = norm.gain.weight, norm.bias.weight
    expected = torch.stack(
        [
            normal[i] * (1 + gain[c])[:, None, None] + bias[c][:, None, None]
            for i, c in enumerate(y.tolist())
        ]
    )
    torch.testing.assert_close(norm(x, y), expected)


def test_weights_of_classes_mix_their_gains_and_biases():
    norm, x = _conditional(), _images()
    y = torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(norm(x, torch.eye(3)[y]), norm(x, y))
    weights = torch.tensor([0.25, 0.0, 0.75])
    expected = 0.25 * norm(x, torch.zeros(5, dtype=torch.int64)) + 0.75 * norm(
        x, torch.full((5,), 2)
    )
    torch.testing.assert_close(norm(x, weights.expand(5, 3)), expected)


def test_starts_with_gain_one_and_bias_zero():
    G = Generator(TINY)
    G.initialize(torch.Generator().manual_seed(0))
    norm = G.blocks[0].norm1
    assert not norm.gain.weight.any()
    assert not norm.bias.weight.any()
    x = torch.randn(5, 8, 3, 2, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(norm(x, torch.tensor([0, 9, 3, 3, 1])), expected)


def test_class_tables_can_be_drawn():
    G = Generator(replace(TINY, cbn_initialization="network"))
    G.initialize(torch.Generator().manual_seed(0))
    for block in G.blocks:
        assert block.norm1.gain.weight.any()
        assert block.norm2.bias.weight.any()


def test_evaluation_uses_standing_statistics_alone():
    norm, x = BatchNorm(4, STATISTICS).double(), _images()
    norm.standing_mean.copy_(torch.arange(4.0))
    norm.standing_var.copy_(torch.tensor([1.0, 4.0, 9.0, 0.25]))
    norm.eval()
    mean, var = norm.standing_mean[:, None, None], norm.standing_var[:, None, None]
    expected = (x - mean) / (var + EPS).sqrt()
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x[:1]), expected[:1])  # independent of the batch


def test_a_training_pass_changes_no_state():
    G = Generator(TINY)
    G.initialize(torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    G(torch.ones(3, 16), torch.tensor([0, 1, 2]))
    for name, tensor in G.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("scope", ["global", "ghost", "process"])
def test_every_layer_has_the_configured_statistics(scope):
    config = replace(TINY, bn_statistics=scope, bn_ghost_batch=2, bn_eps=EPS)
    G = Generator(config)
    G.initialize(torch.Generator().manual_seed(0))
    norms = [module for module in G.modules() if isinstance(module, StandingNorm)]
    assert len(norms) == 7
    z = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([0, 1, 2, 3])
    halves = torch.cat(
        [G(part, labels) for part, labels in zip(z.split(2), y.split(2), strict=True)]
    )
    same = torch.allclose(G(z, y), halves, rtol=0, atol=1e-4)
    assert same == (scope == "ghost")


def test_standing_statistics_of_one_batch_reproduce_training_mode():
    G = Generator(TINY)
    G.initialize(torch.Generator().manual_seed(0))
    G.double()
    G.compute_dtype = torch.float64
    torch.manual_seed(0)
    z, y = torch.randn(12, 16, dtype=torch.float64), torch.randint(10, (12,))
    trained = G(z, y)
    set_standing_statistics(G, [(z, y)])
    assert not G.training
    torch.testing.assert_close(G(z, y), trained, rtol=1e-6, atol=1e-6)
    # and pooled over two batches they are the moments of both together
    z2, y2 = torch.randn(12, 16, dtype=torch.float64), torch.randint(10, (12,))
    set_standing_statistics(G, [(z, y), (z2, y2)])
    with G.spectral.applied():
        first = torch.cat([G.linear(z), G.linear(z2)]).view(24, -1, 4, 4)
    norm = G.blocks[0].norm1
    torch.testing.assert_close(norm.standing_mean, first.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.standing_var, first.var(dim=(0, 2, 3), correction=0))

"""Conditional batch normalisation and standing statistics against their definitions."""

import torch

from models.configuration import GeneratorConfig
from models.generator import Generator
from models.normalization import EPS, ConditionalBatchNorm
from models.standing import set_standing_statistics


def test_conditional_batch_norm():
    torch.manual_seed(0)
    norm = ConditionalBatchNorm(num_classes=3, num_channels=4).double()
    with torch.no_grad():
        norm.gain.normal_()
        norm.bias.normal_()
    x = torch.randn(5, 4, 3, 2, dtype=torch.float64) * 3 + 1
    y = torch.tensor([0, 2, 1, 1, 0])
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = x.var(dim=(0, 2, 3), keepdim=True, correction=0)
    normal = (x - mean) / (var + EPS).sqrt()
    expected = torch.stack(
        [
            normal[i] * norm.gain[c][:, None, None] + norm.bias[c][:, None, None]
            for i, c in enumerate(y.tolist())
        ]
    )
    torch.testing.assert_close(norm(x, y), expected)


def test_starts_with_gain_one_and_bias_zero():
    norm = ConditionalBatchNorm(num_classes=3, num_channels=4)
    assert torch.equal(norm.gain, torch.ones(3, 4))
    assert torch.equal(norm.bias, torch.zeros(3, 4))


def test_standing_statistics_of_one_batch_reproduce_training_mode():
    config = GeneratorConfig(
        resolution=32,
        image_channels=1,
        num_classes=10,
        z_dim=16,
        width=2,
        attention=(16,),
        spectral_norm=True,
    )
    G = Generator(config)
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

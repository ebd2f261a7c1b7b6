"""Spectral normalisation against singular values and finite differences."""

import torch

from models.initialization import initialize, spectral_norm_of
from models.layers import Conv3x3, Embedding, Linear


def _network():
    network = torch.nn.ModuleList(
        [Linear(20, 12), Linear(20, 12), Conv3x3(4, 6), Embedding(10, 24), Conv3x3(6, 1)]
    )
    spectral = spectral_norm_of(network)
    initialize(network, spectral, torch.Generator().manual_seed(0))
    return network, spectral


def test_largest_singular_value_is_one_after_warm_up():
    network, spectral = _network()
    spectral.power_iteration(100)
    with spectral.applied():
        for layer in network:
            singular = torch.linalg.svdvals(layer.effective_weight().flatten(1).double())
            assert abs(singular[0].item() - 1) < 0.01
            assert layer.effective_weight().shape == layer.weight.shape
    assert all(layer.effective_weight() is layer.weight for layer in network)


def test_sigma_is_that_of_the_moved_vectors():
    network, spectral = _network()
    layer = network[2]
    W = layer.weight.detach().flatten(1)
    u = layer.spectral_u.clone()
    v = torch.nn.functional.normalize(W.T @ u, dim=0)
    u = torch.nn.functional.normalize(W @ v, dim=0)
    spectral.power_iteration()
    torch.testing.assert_close(layer.spectral_u, u)
    torch.testing.assert_close(layer.spectral_v, v)
    with spectral.applied():
        torch.testing.assert_close(layer.effective_weight().flatten(1), W / (u @ W @ v))


def test_gradient_flows_through_sigma():
    """d/dW of <A, W / (u^T W v)> with u and v constant, in closed form."""
    network, spectral = _network()
    layer = network[0]
    A = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1))
    with spectral.applied():
        (layer.effective_weight() * A).sum().backward()
    W, u, v = layer.weight.detach(), layer.spectral_u, layer.spectral_v
    sigma = u @ W @ v
    expected = A / sigma - (A * W).sum() / sigma**2 * torch.outer(u, v)
    torch.testing.assert_close(layer.weight.grad, expected)


def test_bake_leaves_the_normalised_weights():
    network, spectral = _network()
    with spectral.applied():
        expected = [layer.effective_weight().clone() for layer in network]
    spectral.bake()
    for layer, weight in zip(network, expected, strict=True):
        assert torch.equal(layer.weight, weight)

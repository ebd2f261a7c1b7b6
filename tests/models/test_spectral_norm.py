"""Spectral normalisation against singular values, closed forms and torch's own."""

import pytest
import torch

from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.discriminator import Discriminator
from models.generator import Generator
from models.initialization import initialize, spectral_norm_of
from models.layers import Conv3x3, Embedding, Linear
from models.normalization import ClassTable
from models.spectral_norm import SpectralLayer


def _network():
    network = torch.nn.ModuleList(
        [Linear(20, 12), Linear(20, 12), Conv3x3(4, 6), Embedding(10, 24), Conv3x3(6, 1)]
    )
    spectral = spectral_norm_of(network, eps=1e-12)
    initialize(network, spectral, torch.Generator().manual_seed(0))
    return network, spectral


SIZES = {"image_channels": 3, "num_classes": 10, "width": 16}


def _generator(resolution=32, **options) -> Generator:
    sizes = {"resolution": resolution, "attention": (resolution // 2,)}
    G = Generator(GeneratorConfig(**SIZES, **sizes, z_dim=32, **options))
    G.initialize(torch.Generator().manual_seed(0))
    return G


def _discriminator(resolution=32, **options) -> Discriminator:
    sizes = {"resolution": resolution, "attention": (resolution // 2,)}
    D = Discriminator(DiscriminatorConfig(**SIZES, **sizes, **options))
    D.initialize(torch.Generator().manual_seed(0))
    return D


def _normalized_layers(network) -> dict[str, SpectralLayer]:
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, SpectralLayer) and hasattr(layer, "spectral_u")
    }


def _largest_singular_values(network) -> dict[str, float]:
    with network.spectral.applied():
        return {
            name: torch.linalg.svdvals(layer.effective_weight().flatten(1).double())[0].item()
            for name, layer in _normalized_layers(network).items()
        }


@pytest.mark.parametrize(
    "network",
    [
        lambda: _generator(128),
        lambda: _discriminator(128),
        lambda: _generator(cbn_spectral_norm=True, cbn_initialization="network"),
        lambda: _discriminator(conditioning="auxiliary-classifier"),
        lambda: _discriminator(attention_block="residual"),
    ],
    ids=["generator", "discriminator", "class tables", "classifier", "residual"],
)
def test_largest_singular_value_of_every_layer_is_one_after_warm_up(network):
    network = network()
    layers = _normalized_layers(network)
    weights = [name for name, p in network.named_parameters() if p.dim() > 1]
    tables = [name for name in weights if ".norm" in name]
    assert len(layers) in (len(weights), len(weights) - len(tables))
    network.spectral.power_iteration(200)
    for name, value in _largest_singular_values(network).items():
        assert value == pytest.approx(1, abs=0.01), name
    assert all(layer.effective_weight() is layer.weight for layer in layers.values())


def test_one_iteration_for_each_update_follows_the_weights():
    """One power iteration for each update, while weights drift by a per cent a time."""
    D = _discriminator()
    D.spectral.power_iteration(200)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(100):
            for layer in _normalized_layers(D).values():
                step = torch.randn(layer.weight.shape, generator=draws)
                layer.weight.add_(step, alpha=0.01 * layer.weight.std().item())
            D.spectral.power_iteration()
    for name, value in _largest_singular_values(D).items():
        assert value == pytest.approx(1, abs=0.01), name


def test_class_tables_are_left_out_unless_asked_for():
    for asked in (False, True):
        G = _generator(
            cbn_spectral_norm=asked, cbn_initialization="network" if asked else "identity"
        )
        for name, layer in G.named_modules():
            if isinstance(layer, SpectralLayer):
                expected = asked or not isinstance(layer, ClassTable)
                assert hasattr(layer, "spectral_u") == expected, name


def test_normalising_tables_of_zeros_is_an_error():
    with pytest.raises(ValueError, match=r"cbn_spectral_norm.*cbn_initialization"):
        _generator(cbn_spectral_norm=True)


def test_without_spectral_norm_there_is_no_state():
    G = _generator(spectral_norm=False)
    assert G.spectral is None
    assert not _normalized_layers(G)
    assert not [name for name, _ in G.named_buffers() if "spectral" in name]


def test_stays_float32_under_autocast():
    network, spectral = _network()
    spectral.power_iteration()
    with spectral.applied():
        expected = [layer.effective_weight().detach() for layer in network]
    network, spectral = _network()
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16  # it is on
        spectral.power_iteration()
        with spectral.applied():
            actual = [layer.effective_weight().detach() for layer in network]
    for layer, weight, same in zip(network, actual, expected, strict=True):
        assert layer.spectral_u.dtype == layer.spectral_v.dtype == torch.float32
        assert torch.equal(weight, same)


def test_power_iteration_between_forward_and_backward_keeps_gradients():
    """Vectors are updated in place; the gradient is that of the forward pass."""
    gradients = []
    for moves in (False, True):
        network, spectral = _network()
        with spectral.applied():
            value = sum(layer.effective_weight().sin().sum() for layer in network)
        if moves:
            spectral.power_iteration(3)
        value.backward()
        gradients.append([layer.weight.grad for layer in network])
    for still, moved in zip(*gradients, strict=True):
        assert torch.equal(still, moved)


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

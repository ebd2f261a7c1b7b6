"""Self-attention in both forms against a naive loop in float64, and against the paper's formula."""

import pytest
import torch

from models.attention import SelfAttention
from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.discriminator import Discriminator
from models.generator import Generator

pytestmark = pytest.mark.usefixtures("seeded")
FORMS = pytest.mark.parametrize("form", ["released", "paper"])


def _block(form: str, num_channels: int, gamma: float) -> SelfAttention:
    block = SelfAttention(num_channels, form).double()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for conv in (block.query, block.key, block.value, block.out):
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=draws) * 0.6)
        block.gamma.fill_(gamma)
    return block


def _naive(block: SelfAttention, x: torch.Tensor, pooled: bool):
    """One query and one key at a time, with gradients -> the output and the weights (B, N, M)."""
    B, C, H, W = x.shape
    f, g, h, v = (c.weight[:, :, 0, 0] for c in (block.query, block.key, block.value, block.out))
    images, weights_of_all = [], []
    for b in range(B):
        keys, values = [], []
        if pooled:
            for i in range(0, H, 2):
                for j in range(0, W, 2):
                    window = [x[b, :, i + di, j + dj] for di in (0, 1) for dj in (0, 1)]
                    keys.append(torch.stack([g @ at for at in window]).amax(0))
                    values.append(torch.stack([h @ at for at in window]).amax(0))
        else:
            positions = [x[b, :, i, j] for i in range(H) for j in range(W)]
            keys, values = [g @ at for at in positions], [h @ at for at in positions]
        pixels = []
        for i in range(H):
            for j in range(W):
                scores = [torch.exp((f @ x[b, :, i, j]).dot(key)) for key in keys]
                total = sum(scores)
                weights_of_all.append(torch.stack([score / total for score in scores]))
                mixed = sum(s / total * value for s, value in zip(scores, values, strict=True))
                pixels.append(x[b, :, i, j] + block.gamma * (v @ mixed))
        images.append(torch.stack(pixels, dim=1).view(C, H, W))
    return torch.stack(images), torch.stack(weights_of_all).view(B, H * W, -1)


@FORMS
@pytest.mark.parametrize("num_channels", [16, 4])  # 2 channels of queries, and the least, 1
def test_values_and_gradients_are_those_of_a_loop(form, num_channels):
    block = _block(form, num_channels, gamma=0.7)
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(2, num_channels, 4, 6, generator=draws, dtype=torch.float64)
    x.requires_grad_()
    expected, expected_weights = _naive(block, x, pooled=form == "released")
    actual = block(x)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    seed = torch.randn(expected.shape, generator=draws, dtype=torch.float64)
    at = (x, *block.parameters())
    for got, want in zip(
        torch.autograd.grad(actual, at, seed),
        torch.autograd.grad(expected, at, seed),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    mapped, weights = block.forward_with_map(x)
    torch.testing.assert_close(mapped, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "num_values", "keys"), [("released", 32, 16 * 16 // 4), ("paper", 8, 16 * 16)]
)
def test_shapes_follow_the_formula(form, num_values, keys):
    """W_f, W_g of C/8 x C; values C/2 as released, C/8 in the text; a row of weights a query."""
    block = SelfAttention(64, form)
    assert block.query.weight.shape == block.key.weight.shape == (8, 64, 1, 1)
    assert block.value.weight.shape == (num_values, 64, 1, 1)
    assert block.out.weight.shape == (64, num_values, 1, 1)
    assert sum(p.numel() for p in block.parameters()) == 2 * 64 * (8 + num_values) + 1
    block = _block(form, 64, gamma=0.0).float()
    _, weights = block.forward_with_map(torch.randn(2, 64, 16, 16))
    assert weights.shape == (2, 16 * 16, keys)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 16 * 16))


@FORMS
def test_starts_as_identity(form):
    x = torch.randn(1, 16, 4, 4, dtype=torch.float64)
    assert torch.equal(_block(form, 16, gamma=0.0)(x), x)
    assert SelfAttention(16, form).gamma.item() == 0


@FORMS
def test_bf16_keeps_its_type_and_maps_are_float32(form):
    block = _block(form, 16, gamma=0.5)
    x = 0.5 * torch.randn(1, 16, 4, 4, dtype=torch.float64)
    expected, expected_weights = block.forward_with_map(x)
    out, weights = block.forward_with_map(x.bfloat16())
    assert out.dtype == torch.bfloat16
    assert weights.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(weights.double(), expected_weights, rtol=0.2, atol=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@FORMS
def test_gpu_runs_a_fused_kernel(form):
    """With fused kernels alone the output agrees with the CPU's."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    block = _block(form, 64, gamma=0.7).float()
    x = torch.randn(2, 64, 16, 16)
    expected = block(x)
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    with sdpa_kernel(fused):
        actual = block.cuda()(x.cuda())
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-2, atol=1e-2)  # TF32


SIZES = {"resolution": 64, "image_channels": 3, "num_classes": 5, "width": 4}


def _networks(g_attention, d_attention, **options) -> tuple[Generator, Discriminator]:
    G = Generator(GeneratorConfig(**SIZES, z_dim=6, attention=g_attention, **options))
    D = Discriminator(DiscriminatorConfig(**SIZES, attention=d_attention, **options))
    for network in (G, D):
        network.initialize(torch.Generator().manual_seed(0))
    return G, D


@FORMS
def test_g_and_d_have_several_blocks_at_sizes_of_their_own(form):
    """Each block runs at its own size, and each changes the output by itself."""
    G, D = _networks((8, 64), (32, 16, 4), attention_form=form)
    assert set(G.attention) == {"8", "64"}
    assert set(D.attention) == {"32", "16", "4"}
    sizes: list[int] = []
    for network in (G, D):
        for block in network.attention.values():
            block.register_forward_hook(lambda block, x, out: sizes.append(x[0].shape[-1]))
    z, y = torch.randn(2, 6), torch.tensor([0, 4])
    with torch.no_grad():
        images = G(z, y)
        logits, _ = D(images, y)
        assert sizes == [8, 64, 32, 16, 4]
        for network, inputs, before in ((G, (z, y), images), (D, (images, y), logits)):
            for block in network.attention.values():
                block.gamma.fill_(1.0)
                after = network(*inputs)
                assert not torch.equal(after if network is G else after[0], before)
                block.gamma.fill_(0.0)
    _, maps = G.attention_maps(z, y)
    keys = {8: 4, 64: 32} if form == "released" else {8: 8, 64: 64}
    assert {size: m.shape for size, m in maps.items()} == {
        size: (2, size, size, keys[size], keys[size]) for size in (8, 64)
    }
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(dim=(3, 4)), torch.ones(weights.shape[:3]))


def test_maps_are_those_of_the_forward_pass():
    G, _ = _networks((8, 16), ())
    with torch.no_grad():
        for block in G.attention.values():
            block.gamma.fill_(0.8)
    z, y = torch.randn(2, 6), torch.tensor([0, 4])
    images, _ = G.attention_maps(z, y)
    torch.testing.assert_close(images, G(z, y))


def test_residual_blocks_have_no_maps():
    G, D = _networks((8,), (8,), attention_block="residual")
    images, maps = G.attention_maps(torch.randn(2, 6), torch.tensor([0, 4]))
    assert maps == {}
    assert D(images, torch.tensor([0, 4]))[0].shape == (2,)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_unavailable_size_lists_the_available(network):
    attention = {"generator": ((32, 7), ()), "discriminator": ((), (32, 7))}[network]
    sizes = {"generator": r"\[8, 16, 32, 64\]", "discriminator": r"\[4, 8, 16, 32\]"}[network]
    with pytest.raises(ValueError, match=f"{network} has no 7x7 features.*{sizes}"):
        _networks(*attention)

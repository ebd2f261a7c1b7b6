"""Self-attention against a naive loop in float64."""

import math

import pytest
import torch

from models.attention import SelfAttention


def _naive(block, x):
    """Equations of the released block, one query and one key at a time."""
    B, _, H, W = x.shape
    out = torch.empty_like(x)
    project = lambda conv: torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)  # noqa: E731
    q, k, v = project(block.query), project(block.key), project(block.value)
    weights_of_all = torch.zeros(B, H * W, H * W // 4, dtype=x.dtype)

    def pooled(f, b, c, i, j):
        return max(float(f[b, c, 2 * i + di, 2 * j + dj]) for di in (0, 1) for dj in (0, 1))

    keys = [(i, j) for i in range(H // 2) for j in range(W // 2)]
    for b in range(B):
        pooled_k = [[pooled(k, b, c, i, j) for c in range(k.shape[1])] for i, j in keys]
        pooled_v = [[pooled(v, b, c, i, j) for c in range(v.shape[1])] for i, j in keys]
        for i in range(H):
            for j in range(W):
                query = q[b, :, i, j].tolist()
                scores = [sum(a * c for a, c in zip(query, key, strict=True)) for key in pooled_k]
                total = sum(math.exp(s) for s in scores)
                weights = [math.exp(s) / total for s in scores]
                weights_of_all[b, i * W + j] = torch.tensor(weights, dtype=x.dtype)
                mixed = [
                    sum(w * value[c] for w, value in zip(weights, pooled_v, strict=True))
                    for c in range(v.shape[1])
                ]
                o = block.out.weight[:, :, 0, 0] @ torch.tensor(mixed, dtype=x.dtype)
                out[b, :, i, j] = x[b, :, i, j] + block.gamma * o
    return out, weights_of_all


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = SelfAttention(16).double().requires_grad_(False)
    for conv in (block.query, block.key, block.value, block.out):
        conv.weight.normal_(std=0.5)
    return block


def test_agrees_with_naive_loop(block):
    block.gamma.fill_(0.7)
    x = torch.randn(2, 16, 6, 8, dtype=torch.float64)
    expected, expected_weights = _naive(block, x)
    torch.testing.assert_close(block(x), expected, rtol=1e-12, atol=1e-12)
    mapped, weights = block.forward_with_map(x)
    torch.testing.assert_close(mapped, expected, rtol=1e-6, atol=1e-6)  # the map is float32
    torch.testing.assert_close(weights.double(), expected_weights, rtol=1e-5, atol=1e-7)


def test_shapes_follow_the_released_code():
    block = SelfAttention(64)
    assert block.query.weight.shape == block.key.weight.shape == (8, 64, 1, 1)
    assert block.value.weight.shape == (32, 64, 1, 1)
    assert block.out.weight.shape == (64, 32, 1, 1)
    assert sum(p.numel() for p in block.parameters()) == 2 * 8 * 64 + 2 * 32 * 64 + 1


def test_starts_as_identity(block):
    x = torch.randn(1, 16, 4, 4, dtype=torch.float64)
    assert torch.equal(block(x), x)

"""The folded convolutions against the two operations that they replace, borders included."""

import torch
import torch.nn.functional as F

from models.resampling import conv3x3, conv3x3_downsample, downsample, upsample, upsample_conv3x3


def _inputs():
    torch.manual_seed(0)
    kwargs = {"dtype": torch.float64, "requires_grad": True}
    return (
        torch.randn(2, 3, 6, 8, **kwargs),
        torch.randn(5, 3, 3, 3, **kwargs),
        torch.randn(5, **kwargs),
    )


def _check(folded, plain):
    x, w, b = _inputs()
    expected = plain(x, w, b)
    actual = folded(x, w, b)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    seed = torch.randn_like(expected)
    for got, want in zip(
        torch.autograd.grad(actual, (x, w, b), seed),
        torch.autograd.grad(expected, (x, w, b), seed),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_upsample_conv3x3():
    _check(
        upsample_conv3x3,
        lambda x, w, b: F.conv2d(F.interpolate(x, scale_factor=2), w, b, padding=1),
    )


def test_conv3x3_downsample():
    _check(
        conv3x3_downsample,
        lambda x, w, b: F.avg_pool2d(F.conv2d(x, w, b, padding=1), 2),
    )


def test_plain_operations():
    x, w, b = (t.detach() for t in _inputs())
    torch.testing.assert_close(conv3x3(x, w, b), F.conv2d(x, w, b, padding=1))
    assert torch.equal(downsample(upsample(x)), x)

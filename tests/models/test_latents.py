"""Truncated latents against the truncated normal distribution; spherical paths."""

import math

import pytest
import torch

from models.latents import slerp, truncated_normal


def _truncated(num: int, threshold: float, seed: int = 0) -> torch.Tensor:
    z = truncated_normal(num, 8, threshold, torch.Generator().manual_seed(seed))
    assert z.shape == (num, 8)
    assert z.dtype == torch.float32
    return z


def _phi(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize("threshold", [0.02, 0.5, 1.0, 2.0, 8.0])
def test_distribution_is_that_of_redrawing(threshold):
    """Kolmogorov-Smirnov distance to the truncated normal; 1.63 is the 1 % point."""
    z = _truncated(5000, threshold).flatten().double().sort().values
    assert z.abs().max() <= threshold
    low = _phi(torch.tensor(-threshold, dtype=torch.float64))
    expected = (_phi(z) - low) / (1 - 2 * low)
    num = len(z)
    above = torch.arange(1, num + 1) / num - expected
    below = expected - torch.arange(num) / num
    assert max(above.max(), below.max()) < 1.63 / num**0.5


def test_clamped_draws_would_fail():
    """Half of all clamped values lie on the threshold."""
    z = torch.randn(40_000, generator=torch.Generator().manual_seed(0)).clamp(-0.5, 0.5)
    assert (z.abs() == 0.5).float().mean() > 0.5
    assert (_truncated(5000, 0.5).abs() == 0.5).float().mean() < 0.001


def test_matches_rejection_sampling_in_moments():
    draws = torch.randn(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    redrawn = draws[draws.abs() <= 1]
    z = _truncated(30_000, 1.0).double()
    assert z.mean().abs() < 0.005
    assert z.var().item() == pytest.approx(redrawn.var().item(), rel=0.01)
    assert (z**4).mean().item() == pytest.approx((redrawn**4).mean().item(), rel=0.02)


def test_is_a_function_of_the_generator():
    assert torch.equal(_truncated(10, 0.7), _truncated(10, 0.7))
    assert not torch.equal(_truncated(10, 0.7), _truncated(10, 0.7, seed=1))
    # smaller thresholds draw the same points nearer to 0
    assert (_truncated(10, 0.7).sign() == _truncated(10, 0.1).sign()).all()


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan])
def test_threshold_must_be_positive(threshold):
    with pytest.raises(ValueError, match=r"truncation = .* above 0"):
        _truncated(1, threshold)


def _ends() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    return tuple(torch.randn(6, generator=draws, dtype=torch.float64) for _ in range(2))


def test_path_has_its_ends_and_even_angles():
    start, end = _ends()
    end = end / end.norm() * start.norm()
    path = slerp(start, end, 9)
    torch.testing.assert_close(path[0], start)
    torch.testing.assert_close(path[-1], end)
    torch.testing.assert_close(path.norm(dim=1), start.norm().expand(9))
    cosines = torch.nn.functional.cosine_similarity(path[1:], path[:-1])
    whole = torch.arccos(torch.nn.functional.cosine_similarity(start, end, dim=0))
    torch.testing.assert_close(torch.arccos(cosines), (whole / 8).expand(8))


def test_norms_lie_between_those_of_the_ends_for_acute_angles():
    start = torch.tensor([3.0, 0.0])
    end = torch.tensor([1.0, 1.0])
    norms = slerp(start, end, 11).norm(dim=1)
    assert (norms <= 3.0 + 1e-6).all()
    assert (norms >= end.norm() - 1e-6).all()


def test_does_not_pass_through_short_vectors():
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.02])
    assert slerp(start, end, 101).norm(dim=1).min() > 0.9
    line = start + torch.linspace(0, 1, 101)[:, None] * (end - start)
    assert line.norm(dim=1).min() < 0.02


@pytest.mark.parametrize("factor", [2.0, -1.0, -0.5])
def test_one_direction_and_opposite_ones_take_the_line(factor):
    """The arc has length 0 or is not unique; the path is finite and has both ends."""
    start, _ = _ends()
    path = slerp(start, factor * start, 5)
    steps = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    torch.testing.assert_close(path, start + steps * (factor - 1) * start)


def test_one_dtype_and_length():
    start, end = (x.float() for x in _ends())
    path = slerp(start, end, 4)
    assert path.dtype == torch.float32
    assert path.shape == (4, 6)

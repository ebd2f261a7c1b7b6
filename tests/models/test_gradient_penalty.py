"""The gradient penalty on functions with known gradients, and through the discriminator."""

import pytest
import torch
from torch import nn

from models.configuration import DiscriminatorConfig
from models.discriminator import Discriminator
from models.losses import gradient_penalty


class _Linear(nn.Module):
    """Its gradient is its weight everywhere."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x, y):
        return x.flatten(1) @ self.weight, None


class _Square(nn.Module):
    """|x|^2 / 2, whose gradient is x."""

    def forward(self, x, y):
        return x.flatten(1).square().sum(1) / 2, None


def _images(batch: int, size: int = 2, channels: int = 3, seed: int = 0) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(batch, channels, size, size, generator=draws, dtype=torch.float64) - 1


def test_of_a_linear_discriminator():
    weight = torch.randn(12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    D = _Linear(weight)
    y = torch.zeros(4, dtype=torch.int64)
    penalty = gradient_penalty(D, _images(4), _images(4, seed=1), y, torch.linspace(0, 0.9, 4))
    norm = weight.norm()
    assert penalty.item() == pytest.approx(((norm - 1) ** 2).item(), rel=1e-12)
    penalty.backward()
    torch.testing.assert_close(D.weight.grad, 2 * (norm - 1) * weight / norm)


def test_is_taken_at_the_mixture():
    """Each image at its own point between real (1) and generated (0)."""
    real, fake = _images(3), _images(3, seed=1)
    mixture = torch.tensor([0.0, 0.25, 1.0])
    penalty = gradient_penalty(_Square(), real, fake, torch.zeros(3, dtype=torch.int64), mixture)
    points = [fake[0], 0.25 * real[1] + 0.75 * fake[1], real[2]]
    expected = sum((point.norm() - 1) ** 2 for point in points) / 3
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("conditioning", ["projection", "auxiliary-classifier"])
@pytest.mark.parametrize("form", ["released", "paper"])
def test_derivative_by_weights_through_the_discriminator(conditioning, form):
    """Double backward through spectral norm and attention, against finite differences."""
    D = Discriminator(
        DiscriminatorConfig(
            resolution=32,
            image_channels=1,
            num_classes=3,
            width=2,
            attention=(16, 8),
            attention_form=form,
            conditioning=conditioning,
        )
    )
    draws = torch.Generator().manual_seed(0)
    D.initialize(draws)
    D.double()
    D.compute_dtype = torch.float64
    with torch.no_grad():
        for name, parameter in D.named_parameters():
            if name.endswith(("gamma", "bias")):
                parameter.add_(0.5)
    real, fake = _images(2, 32, 1), _images(2, 32, 1, seed=1)
    y, mixture = torch.tensor([2, 0]), torch.tensor([0.3, 0.8])

    def penalty() -> torch.Tensor:
        return gradient_penalty(D, real, fake, y, mixture)

    penalty().backward()
    unused = {
        "linear.bias",
        "classifier.weight",
        "classifier.bias",
    }  # the penalty does not depend on them
    step = 1e-6
    for name, parameter in D.named_parameters():
        if name in unused:
            assert parameter.grad is None or not parameter.grad.any()
            continue
        direction = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -2):
                parameter.add_(direction, alpha=sign * step)
                with torch.enable_grad():
                    values.append(penalty().item())
            parameter.add_(direction, alpha=step)
        slope = (values[0] - values[1]) / (2 * step)
        exact = (parameter.grad * direction).sum().item()
        assert exact == pytest.approx(slope, rel=1e-5, abs=1e-7), name


def test_depends_on_labels_with_projection():
    D = Discriminator(
        DiscriminatorConfig(
            resolution=32, image_channels=1, num_classes=3, width=2, attention=(16,)
        )
    )
    D.initialize(torch.Generator().manual_seed(0))
    images = [_images(1, 32, 1, seed).float() for seed in (0, 1)]
    penalties = {
        gradient_penalty(D, *images, torch.tensor([label]), torch.tensor([0.5])).item()
        for label in range(3)
    }
    assert len(penalties) == 3

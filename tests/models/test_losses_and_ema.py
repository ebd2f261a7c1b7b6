"""Hinge losses and the weight average against closed forms."""

import pytest
import torch

from models.ema import update_ema
from models.losses import hinge_d, hinge_g


def test_hinge_values_and_gradients():
    real = torch.tensor([2.0, 0.5, -1.0], requires_grad=True)
    fake = torch.tensor([-3.0, 0.0, 2.0], requires_grad=True)
    loss = hinge_d(real, fake)
    assert loss.item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 3) / 3)
    loss.backward()
    assert real.grad.tolist() == pytest.approx([0, -1 / 3, -1 / 3])
    assert fake.grad.tolist() == pytest.approx([0, 1 / 3, 1 / 3])
    assert hinge_g(fake.detach()).item() == pytest.approx(1 / 3)


def test_ema_halves_the_distance_after_a_half_life():
    average, network = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    start = average.weight.detach().clone()
    for _ in range(10):
        update_ema(average, network, num_images=40, halflife_nimg=400)
    torch.testing.assert_close(average.weight, (start + network.weight) / 2)


def test_ema_copies_buffers():
    average, network = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    network.running_mean.fill_(3.0)
    update_ema(average, network, num_images=1, halflife_nimg=1e6)
    assert torch.equal(average.running_mean, network.running_mean)

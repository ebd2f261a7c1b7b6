"""The weight average against closed forms."""

import pytest
import torch
from torch import nn

from models.ema import update_ema


def _pair() -> tuple[nn.Linear, nn.Linear]:
    networks = nn.Linear(3, 2), nn.Linear(3, 2)
    with torch.no_grad():
        for value, network in enumerate(networks, start=1):
            for parameter in network.parameters():
                parameter.fill_(value)
    return networks


@pytest.mark.parametrize("num_updates", [1, 10, 40])
def test_halves_the_distance_after_a_half_life(num_updates):
    """For any number of updates within a half-life."""
    average, network = _pair()
    for _ in range(num_updates):
        update_ema(average, network, num_images=400 // num_updates, halflife_nimg=400)
    torch.testing.assert_close(average.weight, torch.full((2, 3), 1.5))
    torch.testing.assert_close(average.bias, torch.full((2,), 1.5))


def test_weights_of_states_decay_with_age():
    """After n updates towards w_1 ... w_n: sum_i (1 - d) d^(n - i) w_i + d^n w_0."""
    average, network = _pair()
    decay = 0.5 ** (64 / 1000)
    expected = 1.0
    for value in (2.0, -1.0, 0.5):
        with torch.no_grad():
            network.weight.fill_(value)
        update_ema(average, network, num_images=64, halflife_nimg=1000)
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(average.weight, torch.full((2, 3), expected))


def test_half_life_of_zero_copies():
    average, network = _pair()
    update_ema(average, network, num_images=64, halflife_nimg=0)
    assert torch.equal(average.weight, network.weight)
    assert torch.equal(average.bias, network.bias)
    assert average.weight.data_ptr() != network.weight.data_ptr()


def test_copies_buffers():
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network.running_mean.fill_(3.0)
    network.num_batches_tracked.fill_(7)
    update_ema(average, network, num_images=1, halflife_nimg=1e6)
    assert torch.equal(average.running_mean, network.running_mean)
    assert average.num_batches_tracked == 7


def test_changes_no_network_and_records_no_graph():
    average, network = _pair()
    update_ema(average, network, num_images=1, halflife_nimg=10)
    assert torch.equal(network.weight, torch.full((2, 3), 2.0))
    assert average.weight.grad_fn is None

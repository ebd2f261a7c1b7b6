"""Learning rates and update ratios over a run."""

from dataclasses import replace

import pytest

from pipeline.runs.run_folder import run_identity, run_key
from pipeline.training.schedule import learning_rates_at
from pipeline.training.settings import TrainSettings
from tests.support.tiny_run import TINY

CONSTANT = replace(TINY, g_lr=0.5, d_lr=2.0, g_lr_halflife_kimg=None)


def test_constant_rates():
    assert learning_rates_at(CONSTANT, 123456) == (0.5, 2.0)


def test_generators_rate_halves_with_every_half_life():
    settings = replace(CONSTANT, g_lr_halflife_kimg=2.0)
    rates = [learning_rates_at(settings, nimg) for nimg in (0, 2000, 4000)]
    assert rates == [(0.5, 2.0), (0.25, 2.0), (0.125, 2.0)]


def test_linear_decay_falls_to_zero_over_the_last_ninth():
    settings = replace(CONSTANT, lr_decay="linear", total_kimg=9, batch=1)
    assert learning_rates_at(settings, 8000) == (0.5, 2.0)
    assert learning_rates_at(settings, 8500) == pytest.approx((0.25, 1.0))
    assert learning_rates_at(settings, 9000) == pytest.approx((0.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_generator_moves_once_in_so_many_updates_of_d(d_steps):
    settings = replace(TINY, d_steps=d_steps)
    moves = [settings.updates_g_at(step * settings.batch) for step in range(20)]
    assert moves == [(step + 1) % d_steps == 0 for step in range(20)]


def test_average_starts_late_and_may_be_off():
    settings = replace(TINY, ema_halflife_kimg=3, ema_start_kimg=1)
    halflives = [settings.ema_halflife_nimg_at(nimg) for nimg in (0, 999, 1000)]
    assert halflives == [0, 0, 3000]
    assert replace(settings, ema_halflife_kimg=None).ema_halflife_nimg_at(5000) == 0


def _key(settings: TrainSettings) -> str:
    return run_key(run_identity(settings, "digest"))


def test_length_is_part_of_the_key_where_rates_depend_on_it():
    assert _key(TINY) == _key(replace(TINY, total_kimg=9))
    decaying = replace(TINY, lr_decay="linear")
    assert _key(decaying) != _key(replace(decaying, total_kimg=9))
    assert _key(decaying) != _key(TINY)

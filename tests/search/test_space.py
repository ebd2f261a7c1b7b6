"""Points of search spaces, and proposals."""

import math

import pytest

from pipeline.config.search import Range
from pipeline.search.journal import fold
from pipeline.search.proposals import num_configs, propose
from pipeline.search.space import corners, grid_points, random_point, rounded
from tests.support.studies import RATES, study, trial_events

CHOICES = {"a": Range(grid=[1, 2, 3]), "b": Range(choice=["x", None])}


def test_grid_has_every_combination_once():
    points = grid_points(CHOICES)
    assert points[:3] == [{"a": 1, "b": "x"}, {"a": 1, "b": None}, {"a": 2, "b": "x"}]
    assert len({tuple(point.values()) for point in points}) == len(points) == 6


def test_corners_are_choices_and_both_ends():
    space = {"a": Range(loguniform=[1e-3, 1.0]), "b": Range(choice=["x", "y"])}
    assert list(corners(space)) == [
        {"a": 1e-3, "b": "x"},
        {"a": 1e-3, "b": "y"},
        {"a": 1.0, "b": "x"},
        {"a": 1.0, "b": "y"},
    ]
    assert len(list(corners(CHOICES))) == 6


def test_random_points_are_even_in_the_logarithm_and_functions_of_their_seed():
    space = {"a": Range(loguniform=[1e-4, 1e-2])}
    points = [random_point(space, 0, i)["a"] for i in range(2000)]
    assert points == [random_point(space, 0, i)["a"] for i in range(2000)]
    logs = [math.log10(point) for point in points]
    # Mean of 2,000 draws even over a width of 2: standard deviation 2 / sqrt(12 * 2000) = 0.013.
    assert abs(sum(logs) / len(logs) + 3) < 0.06
    assert min(logs) >= -4
    assert max(logs) <= -2
    even = [random_point({"a": Range(uniform=[1.0, 3.0])}, 0, i)["a"] for i in range(2000)]
    assert abs(sum(even) / len(even) - 2) < 0.06


def test_drawn_values_have_six_digits():
    assert rounded(0.00123456789, (0.0, 1.0)) == 0.00123457
    assert rounded(0.99999999, (0.0, 0.9999999)) == 0.9999999


def _proposals(small, count):
    events: list = []
    for index in range(count):
        config = propose(small, fold(events))
        if config is None:
            break
        events += trial_events(index, config, _objective(config), end="complete")
    return [event["config"] for event in events if event["event"] == "trial"]


def _objective(config):
    """Minimal at rates of 1e-3 and 4e-3."""
    g, d = (math.log(config.get(key, 1e-3)) for key in ("train.g_lr", "train.d_lr"))
    return (g - math.log(1e-3)) ** 2 + (d - math.log(4e-3)) ** 2


def test_a_resumed_search_proposes_what_an_uninterrupted_one_does():
    small = study(num_trials=14)
    whole = _proposals(small, 14)
    events: list = []
    for index, config in enumerate(whole[:9]):
        events += trial_events(index, config, _objective(config), end="complete")
    assert propose(small, fold(events)) == whole[9]
    assert _proposals(small, 14) == whole
    assert _proposals(study(num_trials=14, seed=1), 14) != whole


def test_tpe_finds_better_rates_than_chance():
    def mean_of_late(searcher):
        late = []
        for seed in range(3):
            small = study(searcher=searcher, scheduler="none", num_trials=30, seed=seed)
            late += [_objective(config) for config in _proposals(small, 30)[15:]]
        return sum(late) / len(late)

    assert mean_of_late("tpe") < 0.6 * mean_of_late("random")


def test_tpe_accepts_stopped_failed_and_running_trials():
    small = study(num_trials=20)
    configs = _proposals(study(searcher="random", num_trials=9), 9)
    events: list = []
    for index, config in enumerate(configs):
        end = ("complete", "stopped", "failed", "")[index % 4]
        value = None if index == 8 else _objective(config)
        events += trial_events(index, config, value, end=end)
    config = propose(small, fold(events))
    assert config is not None
    assert config not in configs


def test_no_configuration_is_proposed_twice():
    space = {"model.variant": {"choice": ["sagan", "sn-d", "sn-gd"]}}
    for searcher in ("random", "tpe"):
        small = study(space=space, searcher=searcher, num_trials=8)
        variants = [config["model.variant"] for config in _proposals(small, 8)]
        assert sorted(variants) == ["sagan", "sn-d", "sn-gd"]


@pytest.mark.parametrize(("asked", "expected"), [(None, 6), (4, 4), (10, 6)])
def test_grid_ends_by_itself(asked, expected):
    space = {"train.batch": {"grid": [16, 32]}, "train.d_steps": {"grid": [1, 2, 3]}}
    small = study(space=space, searcher="grid", scheduler="none", num_trials=asked)
    assert num_configs(small) == expected
    assert len(_proposals(small, 20)) == expected


def test_rates_are_within_their_bounds():
    for config in _proposals(study(num_trials=20), 20):
        for key, limits in RATES.items():
            low, high = limits["loguniform"]
            assert low <= config[key] <= high

"""How many trials fit a cluster."""

import pytest
import ray
from ray._private.state import state as ray_state

from pipeline.core.errors import UserError
from pipeline.search.driver import bundle_of, trials_that_fit
from tests.support.studies import section

NODES = [{"CPU": 4.0, "GPU": 1.0, "memory": 1e9}, {"CPU": 3.0, "node:127.0.0.1": 1.0}]


@pytest.mark.parametrize(
    ("workers", "resources", "expected"),
    [
        (1, {}, 7),
        (2, {}, 3),
        (1, {"CPU": 2}, 3),  # one fits the second node
        (1, {"CPU": 0.5}, 14),
        (1, {"CPU": 1, "GPU": 0.25}, 4),
        (2, {"GPU": 0.5}, 1),
    ],
)
def test_trials_at_a_time(workers, resources, expected):
    small = section(workers_per_trial=workers, resources_per_worker=resources)
    assert trials_that_fit(small, NODES, None) == expected


def test_more_workers_than_ever_fit():
    small = section(workers_per_trial=3, resources_per_worker={"CPU": 2, "GPU": 1})
    with pytest.raises(UserError) as caught:
        trials_that_fit(small, NODES, None)
    text = str(caught.value)
    assert "workers_per_trial = 3 of {CPU: 2, GPU: 1} each never fit" in text
    assert "the Ray cluster has {CPU: 7, GPU: 1}, enough for 1; lower workers_per_trial" in text
    with pytest.raises(UserError, match=r"has \{CPU: 16, GPU: 2\} at most, enough for 2"):
        trials_that_fit(small, NODES, {"CPU": 16, "GPU": 2})


def test_an_autoscaler_may_add_nodes():
    small = section(workers_per_trial=8)
    assert trials_that_fit(small, NODES, {"CPU": 64}) == 8


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"CPU": 0}, "reserves nothing"),
        ({"CPU": -1}, "reserves nothing"),
        ({"GPU": 1.5}, r"GPU = 1\.5 is neither a part of one nor a whole number"),
    ],
)
def test_invalid_resources(resources, sentence):
    with pytest.raises(UserError, match=sentence):
        bundle_of(section(resources_per_worker=resources))


def test_ray_still_says_how_large_a_cluster_may_become():
    """Private, and without it no study fits an autoscaling cluster that is still small."""
    assert callable(getattr(ray_state, "get_max_resources_from_cluster_config", None)), (
        f"Ray {ray.__version__} has no get_max_resources_from_cluster_config: see "
        "trials_at_a_time in pipeline/search/driver.py"
    )

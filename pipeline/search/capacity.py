"""Whether a cluster can hold a trial at all, and how many at a time."""

from collections.abc import Sequence

import ray
from ray._private.state import state as ray_state

from pipeline.config.search import StudySection
from pipeline.core.errors import UserError
from pipeline.distributed.ray.resources import Resources, num_fitting, reserved, resources_text


def bundle_of(section: StudySection) -> dict[str, float]:
    """What each process of a trial reserves. Raises UserError when that is nothing."""
    given = section.resources_per_worker
    bundle = reserved(given, f"resources_per_worker = {given}")
    fractions = [name for name, amount in given.items() if amount > 1 and amount % 1]
    if fractions:
        raise UserError(
            f"resources_per_worker: {fractions[0]} = {given[fractions[0]]:g} is neither a part of "
            "one nor a whole number"
        )
    return bundle


def trials_at_a_time(section: StudySection) -> int:
    """How many trials the connected cluster holds, with all nodes that its autoscaler may add.

    Raises UserError when it can never hold one.
    """
    growth = ray_state.get_max_resources_from_cluster_config()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return trials_that_fit(section, nodes, growth)


def trials_that_fit(
    section: StudySection,
    nodes: Sequence[Resources],
    growth: Resources | None,
) -> int:
    """The same for nodes with these resources, and all that may ever be there; None: no more."""
    bundle, count = bundle_of(section), section.workers_per_trial
    room = sum(num_fitting(bundle, node) for node in nodes)
    if growth is not None:
        room = max(room, num_fitting(bundle, growth))
    if room < count:
        most = growth or {
            name: sum(node.get(name, 0) for node in nodes) for node in nodes for name in node
        }
        raise UserError(
            f"workers_per_trial = {count} of {resources_text(bundle)} each never fit: the Ray "
            f"cluster has {resources_text(most)}{' at most' if growth else ''}, room for {room}; "
            "lower workers_per_trial or resources_per_worker, or name a larger cluster in "
            "RAY_ADDRESS"
        )
    return max(1, room // count)

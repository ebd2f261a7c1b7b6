"""Resources as Ray counts them - amounts by name, of a node or a worker - and waiting for them."""

import sys
import time
from collections.abc import Mapping

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.ray.cluster import is_local
from pipeline.distributed.work import StopReason

Resources = Mapping[str, float]

_ANNOUNCE_S = 3.0


def reserved(amounts: Resources, setting: str) -> dict[str, float]:
    """What a worker reserves: the amounts that are not 0; one CPU where none is given.

    Raises UserError when that is nothing; `setting` is the key with the value that the user gave.
    """
    if any(amount < 0 for amount in amounts.values()) or (amounts and not any(amounts.values())):
        raise UserError(
            f"{setting} reserves nothing; give positive amounts, such as {{CPU: 1}} or "
            "{CPU: 2, GPU: 0.5}"
        )
    return {name: amount for name, amount in amounts.items() if amount} or {"CPU": 1}


def num_fitting(bundle: Resources, resources: Resources) -> int:
    """How many times `bundle` fits into `resources`."""
    return min(int(resources.get(name, 0) / amount + 1e-9) for name, amount in bundle.items())


def resources_text(resources: Resources) -> str:
    """`{CPU: 4, GPU: 1}`, without memory and Ray's own names of nodes."""
    own = {n: a for n, a in sorted(resources.items()) if ":" not in n and "memory" not in n}
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in own.items()) + "}"


def await_resources(
    bundle: Resources, num_workers: int, timeout_s: float, stop_reason: StopReason
) -> None:
    """Waits until the cluster has `num_workers` times `bundle` free.

    Does not wait on a cluster of this machine, which does not grow. Raises UserError that says what
    there is, and Preempted.
    """
    num_most = sum(num_fitting(bundle, node["Resources"]) for node in ray.nodes() if node["Alive"])
    if is_local():
        if num_most < num_workers:
            raise UserError(_do_not_fit(bundle, num_workers, num_most))
        return
    try:
        group = placement_group([dict(bundle)] * num_workers, strategy="PACK")
    except ValueError as error:
        raise UserError(
            f"Ray cannot reserve runtime.resources_per_worker = {dict(bundle)}: {error}"
        ) from None
    try:
        start_s = time.monotonic()
        announced = False
        while not group.wait(timeout_seconds=0.5):
            waited_s = time.monotonic() - start_s
            if reason := stop_reason():
                raise Preempted(f"{reason} while waiting for room in the Ray cluster")
            if waited_s > timeout_s:
                raise UserError(
                    f"{_do_not_fit(bundle, num_workers, num_most)}; waited {timeout_s:g} s "
                    "(runtime.join_timeout_s)"
                )
            if waited_s > _ANNOUNCE_S and not announced:
                announced = True
                text = _do_not_fit(bundle, num_workers, num_most)
                print(f"waiting up to {timeout_s:g} s: {text}", file=sys.stderr)
    finally:
        remove_placement_group(group)


def _do_not_fit(bundle: Resources, num_workers: int, num_most: int) -> str:
    if is_local():
        has = f"this machine has {resources_text(ray.cluster_resources())}"
        cure = "name a larger cluster in RAY_ADDRESS"
    else:
        free = resources_text(ray.available_resources())
        has = f"the Ray cluster has {resources_text(ray.cluster_resources())}, free are {free}"
        cure = "add nodes"
    return (
        f"runtime.num_workers = {num_workers} of {resources_text(bundle)} each do not fit: {has}, "
        f"room for {num_most} at most; lower runtime.num_workers or runtime.resources_per_worker, "
        f"or {cure}"
    )

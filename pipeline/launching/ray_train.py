"""Runs training as a Ray Train job, on a local or a remote Ray cluster.

Ray starts the workers, restarts all of them when one fails, and joins them into a group of
torch.distributed. Paths must mean the same on every node: a shared file system, or shards copied to
one place on each and a mirror in S3 for the run folder.
"""

from dataclasses import dataclass

from pipeline.config.params import Params
from pipeline.launching.worker import TrainPaths


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """What to ask Ray for."""

    num_workers: int
    resources_per_worker: dict[str, float]
    """Empty: one GPU with `use_gpu`, else one CPU."""
    use_gpu: bool
    max_failures: int
    """Times that failed workers are started again."""
    join_timeout_s: float
    """How long to wait for the resources of all workers."""


def run_in_ray(job: RayJob, params: Params, paths: TrainPaths) -> None:
    """Trains on the cluster that RAY_ADDRESS names, or on one of this machine.

    Raises UserError and Preempted as the workers did, and UserError when the cluster has less than
    the job needs.
    """
    raise NotImplementedError

"""What a Ray Train job asks Ray for, what each worker gets, and how the job can fail."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.params import Params
from pipeline.distributed.ray.driver_env import Origin
from pipeline.distributed.ray.resources import reserved
from pipeline.distributed.work import Work


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
    """How long to wait for the resources of all workers, at the start and after a failure."""

    @property
    def bundle(self) -> dict[str, float]:
        """What each worker reserves. Raises UserError when that is nothing."""
        bundle = dict(self.resources_per_worker)
        if self.use_gpu:
            bundle.setdefault("GPU", 1)
        return reserved(bundle, f"runtime.resources_per_worker = {self.resources_per_worker}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What each worker is told."""

    desk: Any
    """Handle of the desk."""
    work: Work[Any]
    params: Params
    paths: Any
    """What `work` takes for paths."""
    use_gpu: bool
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class FitFailure:
    """Why Ray Train gave up."""

    is_lack_of_room: bool
    text: str

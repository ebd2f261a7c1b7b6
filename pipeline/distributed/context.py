"""The rank of this process in its job, and collectives of Python objects.

Collectives must be called by all processes or by none, in the same order. In a single process they
return what they were given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from pipeline.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DistContext:
    """Rank and world size of this process, for the default group of torch.distributed."""

    rank: int = 0
    """Among all nodes."""
    local_rank: int = 0
    """On this node: the index of the device to take."""
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the job's files."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether the job has several processes."""
        return self.world_size > 1

    def share(self, batch: int) -> slice:
        """This process's slice of a global batch, a multiple of the world size."""
        size = batch // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def agree(self, content: Any, topic: str) -> None:
        """Raises UserError on all when `content`, JSON values by key, differs between processes.

        `topic` says what it is. A collective.
        """
        contents = self.gather(content)
        for rank, other in enumerate(contents):
            if other != contents[0]:
                raise UserError(
                    f"rank {rank} has another {topic} than rank 0: "
                    f"{_difference(contents[0], other)}; give all nodes the same code, "
                    "params.yaml and shards"
                )

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """Raises on all processes, at the end, the first UserError by rank inside. A collective."""
        if not self.is_distributed:
            yield
            return
        message: str | None = None
        try:
            yield
        except UserError as error:
            message = str(error)
        for rank, each in enumerate(self.gather(message)):
            if each is not None:
                raise UserError(f"rank {rank}: {each}")

    def gather(self, content: Any) -> list[Any]:
        """The `content` of every process, by rank, on all. A collective."""
        if not self.is_distributed:
            return [content]
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, content)
        return gathered

    def gather_to_main(self, content: Any) -> list[Any]:
        """The `content` of every process, by rank, on the main one; [] on others. A collective."""
        if not self.is_distributed:
            return [content]
        gathered: list[Any] = [None] * self.world_size if self.is_main else []
        dist.gather_object(content, gathered if self.is_main else None, dst=0)
        return gathered

    def from_main(self, content: Any) -> Any:
        """The main process's `content`, on all; its tensors must be on the CPU. A collective."""
        if not self.is_distributed:
            return content
        contents = [content if self.is_main else None]
        dist.broadcast_object_list(contents, src=0)
        return contents[0]

    def means(self, metrics: dict[str, float]) -> dict[str, float]:
        """Mean of each metric over the processes; all have the same names. A collective."""
        if not self.is_distributed:
            return metrics
        names = sorted(metrics)
        values = self.gather([metrics[name] for name in names])
        means = torch.tensor(values, dtype=torch.float64).mean(0)
        return dict(zip(names, means.tolist(), strict=True))


def _difference(first: Any, other: Any, path: str = "") -> str:
    if isinstance(first, dict) and isinstance(other, dict):
        for key in sorted({*first, *other}):
            if first.get(key) != other.get(key):
                return _difference(first.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    return f"{path} = {other!r} instead of {first!r}"

"""The processes of one job: who this one is, and what they say to each other.

Collectives must be called by all processes or by none, in the same order. Of a single process they
do nothing.
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
    """This process among those of the job; the default group of torch.distributed joins them."""

    rank: int = 0
    """Over all nodes."""
    local_rank: int = 0
    """On this node: which of its devices to take."""
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this one writes what the job leaves."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there is anybody to talk to."""
        return self.world_size > 1

    def share(self, batch: int) -> slice:
        """This process's part of a global batch, which divides."""
        size = batch // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def agree(self, content: Any, topic: str) -> None:
        """Raises UserError on all when `content`, JSON values by key, differs between processes.

        `topic` says what it is. A collective.
        """
        everybodys = self.gather(content)
        for rank, other in enumerate(everybodys):
            if other != everybodys[0]:
                raise UserError(
                    f"rank {rank} has another {topic} than rank 0: "
                    f"{_difference(everybodys[0], other)}; give all nodes the same code, "
                    "params.yaml and shards"
                )

    def raise_error_on_all(self, error: UserError | None) -> None:
        """Raises on all when any of them has an error, the first by rank. A collective."""
        messages = self.gather(None if error is None else str(error))
        for rank, message in enumerate(messages):
            if message is not None:
                raise UserError(f"rank {rank}: {message}" if self.is_distributed else message)

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """A UserError inside is raised on all, at the end. A collective."""
        error: UserError | None = None
        try:
            yield
        except UserError as own:
            error = own
        self.raise_error_on_all(error)

    def gather(self, content: Any) -> list[Any]:
        """What each process gave, by rank, on all. A collective."""
        if not self.is_distributed:
            return [content]
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, content)
        return gathered

    def gather_to_main(self, content: Any) -> list[Any]:
        """What each process gave, by rank, on the main one; [] on the others. A collective."""
        if not self.is_distributed:
            return [content]
        gathered: list[Any] = [None] * self.world_size if self.is_main else []
        dist.gather_object(content, gathered if self.is_main else None, dst=0)
        return gathered

    def from_main(self, content: Any) -> Any:
        """The main process's `content`, on all; tensors come on the CPU. A collective."""
        if not self.is_distributed:
            return content
        box = [content if self.is_main else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def means(self, metrics: dict[str, float]) -> dict[str, float]:
        """Mean of each metric over the processes; all have the same names. A collective."""
        if not self.is_distributed:
            return metrics
        names = sorted(metrics)
        everybodys = self.gather([metrics[name] for name in names])
        means = torch.tensor(everybodys, dtype=torch.float64).mean(0)
        return dict(zip(names, means.tolist(), strict=True))


def _difference(first: Any, other: Any, path: str = "") -> str:
    if isinstance(first, dict) and isinstance(other, dict):
        for key in sorted({*first, *other}):
            if first.get(key) != other.get(key):
                return _difference(first.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    return f"{path} = {other!r} instead of {first!r}"

"""Whether to stop, decided by all processes at the same step."""

from collections.abc import Callable

import torch
import torch.distributed as dist

from pipeline.distributed.context import DistContext

ELSEWHERE = "another process of this job was asked to stop"


class StopSync:
    """Asks `should_stop` here and makes known what others heard.

    Among several processes the answer to a question is read one question later, so that the
    message travels while a step computes.
    """

    def __init__(self, should_stop: Callable[[], str | None], context: DistContext) -> None:
        self._should_stop = should_stop
        self._several = context.is_distributed
        self._own: str | None = None
        self._box = torch.zeros(1)
        self._pending: dist.Work | None = None

    def ask(self) -> str | None:
        """A reason to stop now, the same decision on all. A collective."""
        if not self._several:
            return self._should_stop()
        verdict = self._read()
        if verdict is not None:
            return verdict
        self._own = self._own or self._should_stop()
        self._box.fill_(self._own is not None)
        self._pending = dist.all_reduce(self._box, dist.ReduceOp.MAX, async_op=True)
        return None

    def close(self) -> None:
        """Waits for what is under way. A collective."""
        self._read()

    def _read(self) -> str | None:
        if self._pending is None:
            return None
        self._pending.wait()
        self._pending = None
        return None if self._box.item() == 0 else self._own or ELSEWHERE

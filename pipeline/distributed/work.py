"""What each process of a launched job runs, and how it ended.

A launcher restarts workers that fail. One that was preempted or met a user's mistake must not be
restarted: it records its outcome and exits normally.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from pipeline.config.params import Params
from pipeline.core.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError
from pipeline.distributed.context import DistContext

StopReason = Callable[[], str | None]
"""Returns why to stop early, or None."""
Paths = TypeVar("Paths")
Work = Callable[[Params, Paths, str, DistContext, StopReason | None], None]
"""What every process of a stage does: (params, paths, device, context, should_stop).

A function of a module, because Ray sends its name. Without `should_stop` the signals of this
process are the reason.
"""


@dataclass(frozen=True, kw_only=True)
class WorkerOutcome:
    """How a worker ended that must not be restarted."""

    code: int = 0
    """Exit code of the stage."""
    message: str = ""

    @classmethod
    def of(cls, error: UserError | Preempted) -> Self:
        """The outcome that `raise_outcome` raises as `error`."""
        code = EXIT_PREEMPTED if isinstance(error, Preempted) else EXIT_USER_ERROR
        return cls(code=code, message=str(error))


def raise_outcome(outcomes: Mapping[int, WorkerOutcome]) -> None:
    """Raises UserError as the first rank that did, or Preempted as the main process did."""
    for _, outcome in sorted(outcomes.items()):
        if outcome.code == EXIT_USER_ERROR:
            raise UserError(outcome.message)
    main = outcomes.get(0, WorkerOutcome())  # no other rank can name the checkpoint
    if main.code == EXIT_PREEMPTED:
        raise Preempted(main.message)

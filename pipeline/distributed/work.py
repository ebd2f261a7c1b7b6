"""The type of what each process of a launched job runs."""

from collections.abc import Callable
from typing import TypeVar

from pipeline.config.params import Params
from pipeline.distributed.context import DistContext

StopReason = Callable[[], str | None]
Paths = TypeVar("Paths")
Work = Callable[[Params, Paths, str, DistContext, StopReason | None], None]
"""What every process of a stage does: (params, paths, device, processes, should_stop).

A function of a module, for Ray sends its name. `should_stop` gives a reason to stop early; None
where this process's signals are one.
"""

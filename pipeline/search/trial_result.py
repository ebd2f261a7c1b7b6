"""What became of one trial of a study."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

TrialStatus = Literal["pending", "running", "paused", "finished", "stopped", "failed"]
"""`stopped`: by the scheduler, before its end, for others were better."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One configuration, trained with one seed."""

    id: str
    config: Mapping[str, Any]
    """The keys of the study's space, dotted: `train.g_lr` -> 2e-4. No seed."""
    seed: int
    """`train.seed`."""
    status: TrialStatus
    kimg: float
    """Thousands of real images seen at the newest report; 0 before the first."""
    value: float | None
    """The metric at `kimg`; None before the first report, and where it is not finite."""
    mlflow_run_id: str | None = None
    history: tuple[tuple[float, float], ...] = ()
    """(kimg, value) of each report; nan for a value that is not finite."""
    seconds: float | None = None
    """From start to end, restarts included."""
    run_key: str | None = None
    """Name of its folder in `runtime.runs_dir`."""
    error: str | None = None
    """Why it failed, in one line."""

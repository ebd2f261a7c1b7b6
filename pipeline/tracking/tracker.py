"""The interface of trackers; this one does nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Outcome = Literal["finished", "preempted", "failed"]


class Tracker:
    """Receives a run's metrics and images and discards them. No method blocks on a network."""

    def log(self, metrics: Mapping[str, float], nimg: int, elapsed_s: float) -> None:
        """One status: values by name (`loss/d`), at `nimg` real images and `elapsed_s` seconds."""

    def image(self, name: str, path: Path, nimg: int) -> None:
        """One image file, complete on disk, of the run at `nimg` real images."""

    def close(self, outcome: Outcome) -> None:
        """Ends tracking; the last call."""

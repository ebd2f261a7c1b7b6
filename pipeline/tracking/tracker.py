"""What training reports to; this one does nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Outcome = Literal["finished", "preempted", "failed"]


class Tracker:
    """Takes a run's metrics and images, and keeps none. No method blocks on a network."""

    def log(self, metrics: Mapping[str, float], nimg: int, elapsed_s: float) -> None:
        """One status: values by name (`loss/d`), at `nimg` real images and `elapsed_s` seconds."""

    def image(self, name: str, path: Path, nimg: int) -> None:
        """One picture file, complete on disk, that shows the run at `nimg` real images."""

    def close(self, outcome: Outcome) -> None:
        """Ends the reporting; call once, and nothing after it."""

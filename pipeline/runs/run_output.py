"""What a run leaves for people and later stages: snapshots and sample grids in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.generator import Generator
from pipeline.evaluation.sample_grid import write_sample_grid
from pipeline.tracking.tracker import Tracker
from pipeline.training.settings import TrainSettings
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot


class RunOutput:
    """Writes to `run_dir/snapshots` and `run_dir/samples`."""

    def __init__(
        self, run_dir: Path, settings: TrainSettings, metadata: Mapping[str, Any], tracker: Tracker
    ) -> None:
        self._run_dir = run_dir
        self._settings = settings
        self._metadata = metadata
        self._tracker = tracker
        self._sampled: tuple[int, Generator] | None = None

    def sampled(self, G_ema: Generator, nimg: int) -> Generator:
        """The averaged generator, ready to be sampled; a `write` that follows takes it as well."""
        G = prepare_for_sampling(G_ema, self._settings.seed, nimg, self._settings.batch)
        self._sampled = nimg, G
        return G

    def write(self, G: Generator, G_ema: Generator, nimg: int) -> None:
        """Writes the averaged and the raw snapshot and the averaged one's sample grid."""
        for network, ema in ((G, False), (G_ema, True)):
            path = self.snapshot_path(nimg, ema)
            if path.exists():  # a run that went back to a checkpoint would write the same bytes
                continue
            sampled = self._take_sampled(nimg) if ema else None
            if sampled is None:
                sampled = prepare_for_sampling(
                    network, self._settings.seed, nimg, self._settings.batch
                )
            if ema:
                grid = self.grid_path(nimg)
                write_sample_grid(grid, sampled, self._settings.seed)
                self._tracker.image("samples", grid, nimg)
            averaged = ema and self._settings.ema_halflife_kimg is not None
            write_snapshot(path, sampled, {**self._metadata, "nimg": nimg, "ema": averaged})

    def _take_sampled(self, nimg: int) -> Generator | None:
        # Taken once: a run that went back to a checkpoint comes by here with other weights.
        held, self._sampled = self._sampled, None
        return held[1] if held is not None and held[0] == nimg else None

    def snapshot_path(self, nimg: int, ema: bool) -> Path:
        """`snapshots/generator-<nimg>.safetensors`, or `generator-raw-...` without averaging."""
        kind = "generator" if ema else "generator-raw"
        return self._run_dir / "snapshots" / f"{kind}-{nimg:09d}.safetensors"

    def grid_path(self, nimg: int) -> Path:
        """`samples/samples-<nimg>.png`."""
        return self._run_dir / "samples" / f"samples-{nimg:09d}.png"

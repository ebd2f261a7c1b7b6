"""What a run leaves in its folder: checkpoints, snapshots, sample grids and status reports."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.generator import Generator
from pipeline.evaluation.sample_grid import write_sample_grid
from pipeline.runs.checkpoints import Checkpoints
from pipeline.tracking.tracker import Tracker
from pipeline.training.settings import TrainSettings
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot
from pipeline.training.state import TrainState

OnStatus = Callable[[int, dict[str, float], float], None]
"""Called with (nimg, metrics, elapsed_s) at every status report."""
Evaluate = Callable[[Generator, int], dict[str, float]]
"""Metrics of a generator that is ready to be sampled, at nimg."""


class RunOutputs:
    """The `Outputs` of the training loop: writes below `run_dir` and to the tracker."""

    def __init__(
        self,
        run_dir: Path,
        settings: TrainSettings,
        metadata: Mapping[str, Any],
        checkpoints: Checkpoints,
        tracker: Tracker,
        on_status: OnStatus | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        """`metadata`, JSON values, goes into every snapshot."""
        self._run_dir = run_dir
        self._settings = settings
        self._metadata = metadata
        self._checkpoints = checkpoints
        self._tracker = tracker
        self._on_status = on_status
        self._evaluate = evaluate
        self._for_sampling: tuple[int, Generator] | None = None

    def load_checkpoint(self, up_to_nimg: int) -> dict[str, Any] | None:
        """See `Outputs`."""
        return self._checkpoints.load_newest(up_to_nimg)

    def save_checkpoint(self, state: TrainState) -> None:
        """See `Outputs`."""
        self._checkpoints.save(state.state_dict())

    def report(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        """See `Outputs`."""
        self._tracker.log(metrics, nimg, elapsed_s)
        if self._on_status is not None:
            self._on_status(nimg, metrics, elapsed_s)

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """See `Outputs`."""
        if self._evaluate is None:
            return {}
        G = self._prepare(state.G_ema, state.nimg)
        self._for_sampling = state.nimg, G  # for the snapshot of the same nimg
        return self._evaluate(G, state.nimg)

    def write_snapshots(self, state: TrainState) -> None:
        """Writes the averaged and the raw generator and a sample grid of the averaged one."""
        nimg, seed = state.nimg, self._settings.seed
        if not self.snapshot_path(nimg, ema=False).exists():  # written again it would be the same
            write_snapshot(
                self.snapshot_path(nimg, ema=False),
                self._prepare(state.G, nimg),
                {**self._metadata, "nimg": nimg, "ema": False},
            )
        if self.snapshot_path(nimg, ema=True).exists():
            return
        held, self._for_sampling = self._for_sampling, None
        G = held[1] if held is not None and held[0] == nimg else self._prepare(state.G_ema, nimg)
        write_sample_grid(self.grid_path(nimg), G, seed)
        self._tracker.image("samples", self.grid_path(nimg), nimg)
        write_snapshot(
            self.snapshot_path(nimg, ema=True),
            G,
            {
                **self._metadata,
                "nimg": nimg,
                "ema": self._settings.ema_halflife_kimg is not None,
            },
        )

    def snapshot_path(self, nimg: int, ema: bool) -> Path:
        """`snapshots/generator-<nimg>.safetensors`, or `generator-raw-...` without averaging."""
        kind = "generator" if ema else "generator-raw"
        return self._run_dir / "snapshots" / f"{kind}-{nimg:09d}.safetensors"

    def grid_path(self, nimg: int) -> Path:
        """`samples/samples-<nimg>.png`."""
        return self._run_dir / "samples" / f"samples-{nimg:09d}.png"

    def _prepare(self, G: Generator, nimg: int) -> Generator:
        return prepare_for_sampling(G, self._settings.seed, nimg, self._settings.batch)

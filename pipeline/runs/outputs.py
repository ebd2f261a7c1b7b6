"""What a run writes: to its folder and the tracker while it trains, and the export at its end."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.discriminator import Discriminator
from models.generator import Generator
from pipeline.evaluation.samples import write_sample_grid
from pipeline.runs.checkpoints import Checkpoints
from pipeline.storage.atomic import atomic_write, write_json, write_text
from pipeline.tracking.jsonl import STATS_NAME, read_stats
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
        if not snapshot_path(self._run_dir, nimg, ema=False).exists():
            write_snapshot(
                snapshot_path(self._run_dir, nimg, ema=False),
                self._prepare(state.G, nimg),
                {**self._metadata, "nimg": nimg, "ema": False},
            )
        if snapshot_path(self._run_dir, nimg, ema=True).exists():
            return
        held, self._for_sampling = self._for_sampling, None
        G = held[1] if held is not None and held[0] == nimg else self._prepare(state.G_ema, nimg)
        grid = self._run_dir / "samples" / f"samples-{nimg:09d}.png"
        write_sample_grid(grid, G, seed)
        self._tracker.image("samples", grid, nimg)
        write_snapshot(
            snapshot_path(self._run_dir, nimg, ema=True),
            G,
            {
                **self._metadata,
                "nimg": nimg,
                "ema": self._settings.ema_halflife_kimg is not None,
            },
        )

    def _prepare(self, G: Generator, nimg: int) -> Generator:
        return prepare_for_sampling(G, self._settings.seed, nimg, self._settings.batch)


def snapshot_path(run_dir: Path, nimg: int, ema: bool) -> Path:
    """`snapshots/generator-<nimg>.safetensors`, or `generator-raw-...` without averaging."""
    kind = "generator" if ema else "generator-raw"
    return run_dir / "snapshots" / f"{kind}-{nimg:09d}.safetensors"


def is_finished(run_dir: Path, total_nimg: int) -> bool:
    """Whether the folder has all that a run of `total_nimg` images exports."""
    if not all(snapshot_path(run_dir, total_nimg, ema).exists() for ema in (True, False)):
        return False
    statistics = run_dir / STATS_NAME
    return statistics.exists() and any(
        record.nimg == total_nimg for record in read_stats(statistics, total_nimg)[0]
    )


def export_run(
    run_dir: Path, settings: TrainSettings, metadata: Mapping[str, Any], out: Path
) -> None:
    """Writes snapshots, statistics, sample grids and `config.json`, this last, to `out`.

    Only what is not beyond `settings.total_nimg` is taken. The same run is exported byte for byte
    the same wherever and whenever: host, time and commit are in the run folder and in MLflow.
    """
    nimg = settings.total_nimg
    out.mkdir(parents=True, exist_ok=True)
    for ema, name in ((True, "generator"), (False, "generator-raw")):
        _copy(snapshot_path(run_dir, nimg, ema), out / f"{name}.safetensors")
    statistics, images = read_stats(run_dir / STATS_NAME, up_to_nimg=nimg)
    lines = [record.to_line() for record in statistics] + [image.to_line() for image in images]
    write_text(out / STATS_NAME, "".join(lines))
    for image in images:
        _copy(run_dir / image.path, out / image.path)
    with torch.device("meta"):  # shapes alone, to count them
        G, D = Generator(settings.generator), Discriminator(settings.discriminator)
    write_json(
        out / "config.json",
        {
            **metadata,
            "nimg": nimg,
            "settings": asdict(settings),
            "generator_parameters": _num_parameters(G),
            "discriminator_parameters": _num_parameters(D),
        },
    )


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)

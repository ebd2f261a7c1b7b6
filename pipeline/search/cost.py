"""Estimate of a study's cost: images, device hours, disk."""

import json
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models.discriminator import Discriminator
from models.generator import Generator
from pipeline.config.params import Params
from pipeline.data.shards.reader import Dataset
from pipeline.distributed.devices import choose_device
from pipeline.runs.settings import runtime_settings, train_settings
from pipeline.search.proposals import num_configs
from pipeline.search.space import Config
from pipeline.search.study import Study
from pipeline.tracking.jsonl import STATS_NAME, read_stats
from pipeline.training.loop import train
from pipeline.training.settings import TrainSettings

_SPEED = "throughput/images_per_s"
_MEASURED_STEPS = 6
_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An estimate, an upper bound with a scheduler that stops trials early."""

    num_runs: int
    images: float
    """Real images over all runs."""
    images_per_s: float
    """Of one trial."""
    speed_source: str
    """How `images_per_s` was obtained."""
    device: str
    workers_per_trial: int
    run_bytes: int
    """Of one run folder: its checkpoints and snapshots."""

    @property
    def device_hours(self) -> float:
        """Hours of the devices, summed over processes."""
        return self.images / self.images_per_s / 3600 * self.workers_per_trial

    def describe(self) -> str:
        """The estimate as two lines of text."""
        kind = "GPU" if self.device.startswith("cuda") else "CPU process"
        return (
            f"{self.num_runs} runs, {self.images / 1e6:.4g} M images, {self.device_hours:.3g} "
            f"{kind} hours at {self.images_per_s:.0f} images/s a trial ({self.speed_source})\n"
            f"{self.num_runs * self.run_bytes / 1e9:.3g} GB of disk, "
            f"{self.run_bytes / 1e6:.4g} MB a run"
        )


def estimate(study: Study, dataset: Dataset, example: Config) -> Cost:
    """The cost of a whole study, estimated from one configuration, `example`."""
    section = study.section
    params = study.trial_params(example, section.seeds[0])
    settings = train_settings(params, dataset.manifest)
    device = choose_device(params.runtime.device, params.runtime.num_threads)
    speed, source = _speed(params, settings, dataset, device)
    num_runs = num_configs(study) * study.num_seeds
    return Cost(
        num_runs=num_runs,
        images=num_runs * settings.total_nimg,
        images_per_s=speed,
        speed_source=source,
        device=device,
        workers_per_trial=section.workers_per_trial,
        run_bytes=_run_bytes(params, settings),
    )


def _speed(
    params: Params, settings: TrainSettings, dataset: Dataset, device: str
) -> tuple[float, str]:
    """Images per second of the newest run with the same networks and batch, else measured now."""
    runs = sorted(
        Path(params.runtime.runs_dir).glob(f"*/{STATS_NAME}"),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in runs:
        if _is_like(path.with_name("config.json"), settings):
            speeds = [record.metrics[_SPEED] for record in read_stats(path)[0][-20:]]
            if speeds:
                return statistics.median(speeds), f"median of {path}"
    short = replace(settings, total_kimg=_MEASURED_STEPS * settings.batch / 1000)
    runtime = runtime_settings(params, device)
    train(replace(short, total_kimg=settings.batch / 1000), dataset.train, runtime)  # warms up
    started = time.perf_counter()
    train(short, dataset.train, runtime)
    speed = _MEASURED_STEPS * settings.batch / (time.perf_counter() - started)
    return speed, f"measured now over {_MEASURED_STEPS} steps, no such run in runs_dir"


def _is_like(path: Path, settings: TrainSettings) -> bool:
    try:
        stored: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return (
            stored["batch"] == settings.batch
            and stored["precision"] == settings.precision
            and stored["generator"]["width"] == settings.generator.width
            and stored["generator"]["resolution"] == settings.generator.resolution
            and stored["discriminator"]["width"] == settings.discriminator.width
            and stored["d_steps"] == settings.d_steps
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _run_bytes(params: Params, settings: TrainSettings) -> int:
    with torch.device("meta"):  # shapes only
        g = _bytes(Generator(settings.generator))
        d = _bytes(Discriminator(settings.discriminator))
    checkpoint = 3 * (g + d) + g  # weights and Adam's two moments, and the average
    reports = math.ceil(settings.total_kimg / params.runtime.checkpoint_kimg)
    milestones = max(0, math.floor(math.log2(max(reports, 1))) - 1)
    kept = min(params.runtime.keep_checkpoints + milestones, reports)
    snapshots = math.ceil(settings.total_kimg / settings.snapshot_kimg)
    return kept * checkpoint + 2 * snapshots * g


def _bytes(network: torch.nn.Module) -> int:
    return _FLOAT_BYTES * sum(p.numel() for p in network.parameters())

"""A run small enough to train in a second."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.configuration import DiscriminatorConfig, GeneratorConfig
from pipeline.data.shards.reader import Dataset, open_dataset
from pipeline.runs.train import run_training
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.training.settings import RuntimeSettings, TrainSettings

_IMAGE = {"resolution": 32, "image_channels": 1, "num_classes": 10}

TINY = TrainSettings(
    generator=GeneratorConfig(**_IMAGE, z_dim=8, width=2, attention=(16,), spectral_norm=True),
    discriminator=DiscriminatorConfig(**_IMAGE, width=4, attention=(16,), spectral_norm=True),
    seed=0,
    total_kimg=0.16,
    batch=16,
    g_lr=2e-4,
    d_lr=4e-4,
    g_lr_halflife_kimg=0.1,
    adam_beta1=0.0,
    adam_beta2=0.999,
    adam_eps=1e-8,
    ema_halflife_kimg=0.05,
    precision="fp32",
    snapshot_kimg=0.08,
)
RUNTIME = RuntimeSettings(status_kimg=0.032, checkpoint_kimg=0.032, keep_checkpoints=2)


@pytest.fixture(scope="session")
def digits(digits_shards: Path) -> Dataset:
    """The digits, opened."""
    return open_dataset(digits_shards)


@pytest.fixture
def run(digits: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """Trains TINY with changes in `tmp_path`, or a folder of its own, and returns the export."""

    def run(folder: str = "a", restart: bool = False, **changes: object) -> Path:
        out = tmp_path / folder / "model"
        run_training(
            replace(TINY, **changes),
            digits,
            RUNTIME,
            runs_dir=tmp_path / folder / "runs",
            out=out,
            open_tracker=lambda run_dir, run_key: JsonlTracker(run_dir),
            restart=restart,
        )
        return out

    return run

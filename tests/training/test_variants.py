"""Every named system trains on the real digits, resumes exactly and exports."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from models.architecture import shared_sizes
from models.variants import VARIANTS
from pipeline import load_generator
from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.reader import Dataset, open_dataset
from pipeline.data.sources.select import open_source
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.outputs import RunOutputs
from pipeline.runs.settings import train_settings
from pipeline.tracking.tracker import Tracker
from pipeline.training.loop import Summary, train
from pipeline.training.settings import RuntimeSettings, TrainSettings

BATCH = 8
LARGE_BATCH = 2  # at 128 pixels, where attention over 64x64 features is slow
NUM_STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def _as_the_stage_allocates() -> None:
    keep_freed_memory()


@pytest.fixture(scope="session")
def digits_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Dataset]:
    """The digits at a resolution."""

    @cache
    def digits_at(resolution: int) -> Dataset:
        folder = tmp_path_factory.mktemp("digits") / str(resolution)
        write_dataset(
            open_source("digits"),
            folder,
            Preprocessing(resolution=resolution, channels=1),
            heldout_fraction=0.9,
            shard_rows=4096,
        )
        return open_dataset(folder)

    return digits_at


def _settings(dataset: Dataset, model: dict, **changes: object) -> TrainSettings:
    resolution = dataset.manifest.resolution
    batch = LARGE_BATCH if resolution == 128 else BATCH
    params = Params.model_validate(
        {
            "data": {"resolution": resolution},
            "model": {"g_width": 2, "d_width": 2, "z_dim": 8, **model},
            "train": {
                "batch": batch,
                "total_kimg": batch * NUM_STEPS / 1000,
                "lr_multiplier": 1,
                "precision": "fp32",
                **changes,
            },
        }
    )
    return train_settings(params, dataset.manifest)


class _Collector(Tracker):
    def __init__(self) -> None:
        self.metrics: list[dict[str, float]] = []

    def log(self, metrics: dict[str, float], nimg: int, elapsed_s: float) -> None:
        self.metrics.append(metrics)


def _train(
    settings: TrainSettings, dataset: Dataset, folder: Path, stop_after: int | None = None
) -> tuple[Summary, list[dict[str, float]]]:
    tracker = _Collector()
    metadata = {"class_names": list(dataset.manifest.class_names)}
    calls = iter(range(1000))

    def should_stop() -> str | None:
        return "enough" if stop_after is not None and next(calls) == stop_after else None

    with Checkpoints(folder / "checkpoints", "key", 2, 1000) as checkpoints:
        summary = train(
            settings,
            dataset.train,
            RuntimeSettings(status_kimg=settings.batch * 7 / 1000),
            should_stop,
            RunOutputs(folder, settings, metadata, checkpoints, tracker),
        )
    return summary, tracker.metrics


def _trains_resumes_and_exports(settings: TrainSettings, dataset: Dataset, folder: Path) -> None:
    straight, metrics = _train(settings, dataset, folder / "straight")
    assert straight.nimg == settings.batch * NUM_STEPS
    assert all(math.isfinite(value) for report in metrics for value in report.values())

    first, _ = _train(settings, dataset, folder / "parted", stop_after=11)
    assert (first.nimg, first.stopped_by) == (settings.batch * 11, "enough")
    second, _ = _train(settings, dataset, folder / "parted")
    assert (second.start_nimg, second.nimg) == (first.nimg, straight.nimg)
    for kind in ("generator", "generator-raw"):
        name = f"snapshots/{kind}-{straight.nimg:09d}.safetensors"
        assert (folder / "parted" / name).read_bytes() == (folder / "straight" / name).read_bytes()
        G = load_generator(folder / "parted" / name)
        images = G(G.latents(4), torch.arange(4))
        assert images.shape == (4, 1, settings.generator.resolution, settings.generator.resolution)
        assert torch.isfinite(images).all()
        assert images.std() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_trains_resumes_and_exports(variant, digits_at, tmp_path):
    size = int(variant.partition("feat")[2] or 0)
    smallest = next(r for r in (32, 64, 128) if size == 0 or size in shared_sizes(r))
    dataset = digits_at(smallest)
    ghost = {"bn_ghost_batch": 4} if VARIANTS[variant].bn_statistics == "ghost" else {}
    settings = _settings(dataset, {"variant": variant, **ghost})
    _trains_resumes_and_exports(settings, dataset, tmp_path)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ({}, {"loss": "wasserstein-gp"}),
        ({}, {"loss": "non-saturating", "diffaugment": ["color", "translation", "cutout"]}),
        ({"attention_form": "paper", "g_attention": [8, 16, 32]}, {"loss": "least-squares"}),
        ({"initialization": "normal", "d_attention": []}, {"precision": "bf16", "flip": True}),
    ],
)
def test_options_train_resume_and_export(model, changes, digits, tmp_path):
    _trains_resumes_and_exports(_settings(digits, model, **changes), digits, tmp_path)


def test_gamma_of_each_block_is_logged(digits, tmp_path):
    model = {"g_attention": [8, 32], "d_attention": [16, 8]}
    _, reports = _train(_settings(digits, model), digits, tmp_path)
    gammas = {name for name in reports[-1] if "gamma" in name}
    assert gammas == {
        f"attention/{n}" for n in ("g_gamma_8", "g_gamma_32", "d_gamma_8", "d_gamma_16")
    }
    assert all(reports[-1][name] != 0 for name in gammas)
    _, reports = _train(
        _settings(digits, {"variant": "residual-feat8"}), digits, tmp_path / "residual"
    )
    assert reports[-1]["residual/g_gamma_8"] != 0

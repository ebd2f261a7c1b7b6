"""What the stages before the report leave, made up but plausible."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.reader import open_dataset
from pipeline.data.sources.arrays import array_source
from pipeline.reporting.build import ReportOutputs, build_report
from pipeline.reporting.inputs import ReportPaths
from pipeline.runs.run_folder import run_folder
from pipeline.storage.atomic import write_json
from pipeline.tracking.jsonl import JsonlTracker

NUM_COLUMNS = 10
RUN_KEY = "3f9a1c" * 10 + "abcd"


@dataclass(frozen=True)
class StageOutputs:
    """Paths of the stages' outs below one folder."""

    root: Path
    shards: Path

    @property
    def inputs(self) -> ReportPaths:
        return ReportPaths(
            model=self.root / "data" / "model",
            metrics=self.root / "reports" / "metrics.json",
            protocol=self.root / "reports" / "protocol.json",
            samples=self.root / "reports" / "samples",
            shards=self.shards,
            runs=self.root / "runs",
        )

    @property
    def outputs(self) -> ReportOutputs:
        reports = self.root / "reports"
        return ReportOutputs(
            page=reports / "index.html", curves=reports / "curves.csv", figures=reports / "figures"
        )


def write_shards(folder: Path, class_names: tuple[str, ...], channels: int, name: str) -> Path:
    """Shards of random 32x32 images, six of each class."""
    images = np.random.default_rng(0).integers(0, 256, (32, 32, channels), np.uint8)
    count = 6 * len(class_names)
    source = array_source(
        name,
        class_names,
        [f"image-{index}" for index in range(count)],
        [np.roll(images, index, axis=1) for index in range(count)],
        [index % len(class_names) for index in range(count)],
        origin={"kind": "random", "path": f"/somewhere/{name}"},
        preprocessing={"resize": "none"},
    )
    preprocessing = Preprocessing(resolution=32, channels=channels)
    write_dataset(source, folder, preprocessing, heldout_fraction=0.2, shard_rows=1000)
    return folder


def write_stage_outputs(root: Path, shards: Path, attention_sizes: tuple[int, ...] = (16,)):
    """Writes model, metrics, protocol and samples below `root`, for the shards' data set."""
    outputs = StageOutputs(root, shards)
    dataset = open_dataset(shards)
    manifest = dataset.manifest
    random = np.random.default_rng(1)
    rows = [
        np.resize(np.flatnonzero(dataset.train.labels == label)[::-1], NUM_COLUMNS)
        for label in range(len(manifest.class_names))
    ]
    grid = dataset.train.gather(np.concatenate(rows).astype(np.int64))  # (classes columns, ...)
    _write_model(outputs.inputs.model, manifest, grid, random)
    _write_metrics(outputs, manifest)
    samples = outputs.inputs.samples
    samples.mkdir(parents=True)
    _tile(grid, NUM_COLUMNS).save(samples / "class_grid.png")
    chosen = np.arange(0, len(grid), NUM_COLUMNS)[:4]
    np.savez(
        samples / "attention.npz",
        images=grid[chosen],
        labels=chosen // NUM_COLUMNS,
        class_names=np.array(manifest.class_names),
        **{f"maps_{size}": _maps(grid[chosen], size) for size in attention_sizes},
    )
    return outputs


def _write_model(folder, manifest, grid, random):
    tracker = JsonlTracker(folder)
    for step in range(1, 97):
        nimg = 1000 * step
        progress = 1 - math.exp(-step / 25)
        noise = random.normal(0, 0.05, 6)
        tracker.log(
            {
                "loss/d": 2.0 - 0.9 * progress + noise[0],
                "loss/g": 0.1 + 0.5 * progress + noise[1],
                "logits/real": 0.3 + 0.4 * progress + noise[2],
                "logits/fake": -0.3 - 0.4 * progress + noise[3],
                "attention/g_gamma_16": 0.35 * progress,
                "attention/d_gamma_16": -0.12 * progress,
                "throughput/images_per_s": 430 + 200 * noise[4],
            },
            nimg,
            nimg / 430,
        )
        if step % 16 == 0:
            spread = 90 * math.exp(-step / 20)
            noisy = np.clip(grid + random.normal(0, spread, grid.shape), 0, 255).astype(np.uint8)
            path = folder / "samples" / f"samples-{nimg:09d}.png"
            path.parent.mkdir(exist_ok=True)
            eight = noisy.reshape(-1, NUM_COLUMNS, *grid.shape[1:])[:, :8]
            _tile(eight.reshape(-1, *grid.shape[1:]), 8).save(path)
            tracker.image("samples", path, nimg)
    tracker.close("finished")
    network = {"resolution": 32, "image_channels": manifest.channels, "width": 12}
    write_json(
        folder / "config.json",
        {
            "run_key": RUN_KEY,
            "dataset_digest": manifest.digest,
            "dataset_name": manifest.name,
            "class_names": list(manifest.class_names),
            "nimg": 96000,
            "variant": "sagan",
            "settings": {
                "generator": {**network, "z_dim": 128, "attention": [16], "spectral_norm": True},
                "discriminator": {**network, "attention": [16], "spectral_norm": True},
                "seed": 0,
                "total_kimg": 96,
                "batch": 64,
                "g_lr": 2e-4,
                "d_lr": 4e-4,
            },
            "generator_parameters": 165_433,
            "discriminator_parameters": 41_002,
        },
    )
    write_json(
        run_folder(folder.parents[1] / "runs", RUN_KEY) / "environment.json",
        {
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "processor": "A Processor (R) 2.10GHz",
            "threads": 2,
            "device": "cpu",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
        },
    )


def _write_metrics(outputs, manifest):
    metrics = {
        "fid_dataset_cnn": 12.3456,
        "matched_fid_dataset_cnn": 13.71,
        "matched_fid_dataset_cnn_raw": 16.2,
        "is_mean_dataset_cnn": 9.214,
        "is_std_dataset_cnn": 0.0432,
        "kid_mean_dataset_cnn": 0.00123,
        "kid_std_dataset_cnn": 0.0004,
        "accuracy_dataset_cnn": 0.9684,
        "accuracy_min_class_dataset_cnn": 0.8712,
        "within_class_std_ratio": 0.7321,
        "fid_dataset_cnn_raw": 15.1,
        "is_mean_dataset_cnn_raw": 9.05,
        "is_std_dataset_cnn_raw": 0.05,
        "accuracy_dataset_cnn_raw": 0.941,
        "within_class_std_ratio_raw": 0.78,
        "real_is_mean_dataset_cnn": 9.71,
        "real_is_std_dataset_cnn": 0.06,
        "baseline_fid_dataset_cnn": 3.21,
        "baseline_kid_mean_dataset_cnn": -0.0001,
        "baseline_kid_std_dataset_cnn": 0.0003,
        "heldout_accuracy_dataset_cnn": 0.9861,
        "something_new": 1234.5678,
    }
    protocol = {
        key: {
            "extractor": "dataset-cnn",
            "weights_sha256": "ab" * 32,
            "num_generated": 5000,
            "num_real": manifest.splits["train"].rows,
            "reference_split": "train",
            "dataset_digest": manifest.digest,
            "resize": None,
            "quantisation": "uint8, rounded to nearest",
            "weights": "raw" if key.endswith("_raw") else "EMA",
            "seed": 1000,
            "versions": {"torch": "2.13.0", "torch-fidelity": "0.4.0"},
            "formula": "torch-fidelity 0.4.0",
        }
        for key in metrics
    }
    write_json(outputs.inputs.metrics, metrics)
    write_json(outputs.inputs.protocol, protocol)


def _tile(images, columns):
    N, H, W, C = images.shape
    grid = images.reshape(N // columns, columns, H, W, C).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(N // columns * H, columns * W, C)
    return Image.fromarray(grid[:, :, 0] if C == 1 else grid)


def _maps(images, size):
    """Each position looks where the image is as bright as it is itself, rather nearby."""
    features = np.stack([_shrunk(image, size) for image in images])  # (N, s, s)
    keys = features.reshape(len(images), size // 2, 2, size // 2, 2).max(axis=(2, 4))
    q = np.stack(np.mgrid[:size, :size], axis=-1)[:, :, None, None] / size
    k = np.stack(np.mgrid[: size // 2, : size // 2], axis=-1)[None, None] / (size // 2)
    distance = ((q - k) ** 2).sum(axis=-1)  # (s, s, s/2, s/2)
    likeness = -np.abs(features[:, :, :, None, None] - keys[:, None, None])
    weights = np.exp(5 * likeness - 6 * distance)
    return (weights / weights.sum(axis=(3, 4), keepdims=True)).astype(np.float32)


def _shrunk(image, size):
    grey = Image.fromarray(image.mean(axis=2).astype(np.uint8))
    return np.asarray(grey.resize((size, size), Image.Resampling.BOX), np.float32) / 255


@pytest.fixture(scope="session")
def digits_report(tmp_path_factory: pytest.TempPathFactory, digits_shards: Path) -> "StageOutputs":
    """Paths of a report of the digits; read it only."""
    stages = write_stage_outputs(tmp_path_factory.mktemp("report"), digits_shards)
    build_report(stages.inputs, stages.outputs, samples_per_class=10, attention_samples=4)
    return stages

"""Scores a model: images of the averaged and the raw generator against the real side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.data.manifest import Manifest
from pipeline.errors import UserError
from pipeline.evaluation.collector import Collected, Collector
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.names import extractor_name
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.metrics.spread import SPREAD_FORMULA, ClassSpread, spread_ratio
from pipeline.evaluation.model_side import measure_model_side
from pipeline.evaluation.real_side import choose_floor, measure_real_side
from pipeline.evaluation.reference_folder import (
    Reference,
    check_same_dataset,
    read_pixels,
    read_reference,
)
from pipeline.evaluation.sample_files import write_samples
from pipeline.evaluation.sampling import describe_labels, draw_labels, draw_latents, generate
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.evaluation.versions import library_versions
from pipeline.generator import SnapshotGenerator, load_generator

EMA_FILE = "generator.safetensors"
RAW_FILE = "generator-raw.safetensors"
CONFIG_FILE = "config.json"
QUANTISATION = "uint8: 127.5 x + 127.5, rounded to nearest, clamped to 0..255"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationFiles:
    """Where the results go."""

    metrics: Path
    """JSON of numbers by key."""
    protocol: Path
    """JSON of how each was measured."""
    samples: Path
    """Folder for the pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _RealSide:
    extractors: Sequence[Extractor]
    references: Sequence[Reference]
    spread: npt.NDArray[np.float64]


def evaluate_model(
    model_dir: Path,
    reference_dir: Path,
    manifest: Manifest,
    files: EvaluationFiles,
    *,
    extractors: Sequence[str],
    sources: WeightSources,
    settings: EvaluateSettings,
    device: str,
) -> dict[str, float]:
    """Writes `files`, the metrics last, and returns the metrics.

    Raises UserError, before anything is written, for inputs that are missing, damaged or of
    another data set than `manifest`'s, and for too few samples.
    """
    num_classes = len(manifest.class_names)
    if settings.num_samples < 2 * num_classes:
        raise UserError(
            f"evaluate.num_samples = {settings.num_samples} is too few for {num_classes} classes; "
            f"it takes 2 of each: {2 * num_classes}"
        )
    if not (model_dir / CONFIG_FILE).is_file():  # written last
        raise UserError(f"{model_dir} holds no whole model; `dvc repro train` exports it")
    generators = {
        suffix: _open_generator(model_dir / file, manifest, device)
        for suffix, file in (("", EMA_FILE), ("_raw", RAW_FILE))
    }
    real = _open_real_side(reference_dir, manifest, extractors, sources, device)
    measurements = Measurements(
        {
            "dataset": manifest.name,
            "dataset_digest": manifest.digest,
            "reference_split": "train",
            "quantisation": QUANTISATION,
            "seed": settings.seed,
            "labels": describe_labels(settings.num_samples, num_classes),
            "versions": library_versions(),
        }
    )
    with exact_arithmetic():
        for suffix, G in generators.items():
            _measure_generator(measurements, G, real, settings, suffix)
        for extractor, reference in zip(real.extractors, real.references, strict=True):
            floor = choose_floor(reference, settings.num_samples)
            measure_real_side(measurements, reference, floor, settings, extractor.describe())
        write_samples(files.samples, generators[""], settings.seed)
    measurements.write(files.metrics, files.protocol)
    return measurements.values


def _open_generator(path: Path, manifest: Manifest, device: str) -> SnapshotGenerator:
    G = load_generator(path, device)
    check_same_dataset(path, G.metadata["dataset_digest"], manifest)
    return G


def _open_real_side(
    folder: Path,
    manifest: Manifest,
    specs: Sequence[str],
    sources: WeightSources,
    device: str,
) -> _RealSide:
    folders = [folder / extractor_name(spec) for spec in specs]
    references = [read_reference(each, manifest) for each in folders]
    size = manifest.resolution
    extractors = [
        open_extractor(spec, each, sources, device, image_size=size)
        for spec, each in zip(specs, folders, strict=True)
    ]
    for reference, extractor in zip(references, extractors, strict=True):
        made_with = reference.protocol.weights_sha256
        if extractor.weights_sha256 != made_with:
            raise UserError(
                f"{folder / extractor.name} was made with other weights ({made_with[:12]}) than "
                f"those at hand ({extractor.weights_sha256[:12]}); make it anew with "
                "`dvc repro --force reference`"
            )
    spread = read_pixels(folder, manifest)
    return _RealSide(extractors=extractors, references=references, spread=spread)


def _measure_generator(
    measurements: Measurements,
    G: SnapshotGenerator,
    real: _RealSide,
    settings: EvaluateSettings,
    suffix: str,
) -> None:
    generated, spread = _collect(G, real.extractors, settings)
    model = {
        "weights": "EMA" if G.metadata["ema"] else "raw",
        "nimg": G.metadata["nimg"],
        "run_key": G.metadata["run_key"],
    }
    sides = zip(generated, real.extractors, real.references, strict=True)
    for collected, extractor, reference in sides:
        floor = choose_floor(reference, settings.num_samples)
        entry = {**extractor.describe(), **model}
        measure_model_side(measurements, collected, reference, floor, settings, entry, suffix)
    ratio = spread_ratio(spread, real.spread)
    if ratio is not None:
        measurements.add(
            f"within_class_std_ratio{suffix}",
            ratio,
            {
                **model,
                "extractor": None,
                "weights_sha256": None,
                "resize": "averaged over 8x8 equal areas",
                "num_generated": settings.num_samples,
                "num_real": real.references[0].protocol.num_train,
                "formula": SPREAD_FORMULA,
            },
        )


def _collect(
    G: SnapshotGenerator, extractors: Sequence[Extractor], settings: EvaluateSettings
) -> tuple[list[Collected], npt.NDArray[np.float64]]:
    count = settings.num_samples
    y = draw_labels(settings.seed, count, G.num_classes)
    z = draw_latents(settings.seed, count, G.z_dim)
    collectors = [Collector(extractor) for extractor in extractors]
    spread = ClassSpread(G.num_classes)
    with tqdm(total=count, desc="generated", unit="img", disable=None, leave=False) as bar:
        for images, labels in generate(G, z, y):
            for collector in collectors:
                collector.add(images, labels)
            spread.add(images, labels)
            bar.update(len(labels))
    return [collector.collected() for collector in collectors], spread.by_class()

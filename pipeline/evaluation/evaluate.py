"""Evaluates a model: images of the averaged and the raw generator against the real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.core.randomness import generator_at
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.executor import ParallelExecutor, exact_arithmetic
from pipeline.evaluation.extraction import Extraction, extract_generated
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.measure import measure_generated, measure_reference
from pipeline.evaluation.metric_results import MetricResults, library_versions
from pipeline.evaluation.metrics.intra_fid import (
    MIYATO_PER_CLASS,
    ClassAccumulator,
    ClassDistances,
    class_features,
)
from pipeline.evaluation.metrics.within_class_std import (
    WITHIN_CLASS_STD_FORMULA,
    within_class_std_ratio,
)
from pipeline.evaluation.reference.folder import check_same_dataset, open_references
from pipeline.evaluation.reference.statistics import ReferenceStatistics
from pipeline.evaluation.samples import write_samples
from pipeline.evaluation.sampling import Draw, describe_labels, draw
from pipeline.storage.digest import sha256_file
from pipeline.training.generator import SnapshotGenerator, load_generator

EMA_FILE = "generator.safetensors"
RAW_FILE = "generator-raw.safetensors"
CONFIG_FILE = "config.json"
QUANTISATION = "uint8: 127.5 x + 127.5, rounded to nearest, clamped to 0..255"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationFiles:
    """Paths of the results."""

    metrics: Path
    """JSON of numbers by key."""
    protocol: Path
    """JSON of the protocol of each."""
    samples: Path
    """Folder for the pictures."""


def evaluate_model(
    model_dir: Path,
    reference_dir: Path,
    manifest: Manifest,
    files: EvaluationFiles,
    *,
    extractors: Sequence[str],
    sources: WeightSources,
    settings: EvaluateSection,
    device: str,
    executor: ParallelExecutor | None = None,
) -> dict[str, float]:
    """Writes `files`, the metrics last, and returns the metrics. A collective.

    Without an executor this process works alone; of several the main one writes, and the others
    return nothing. Raises UserError, before anything is written, for inputs that are missing,
    damaged or of another data set than `manifest`'s, and for too few samples.
    """
    executor = executor or ParallelExecutor.on(device)
    context = executor.context
    with context.raise_on_all():
        check_num_samples("evaluate.num_samples", settings.num_samples, manifest)
        if not (model_dir / CONFIG_FILE).is_file():  # written last
            raise UserError(f"{model_dir} holds no whole model; `dvc repro train` exports it")
        paths = {"": model_dir / EMA_FILE, "_raw": model_dir / RAW_FILE}
        generators = {s: open_snapshot(path, manifest, device) for s, path in paths.items()}
        networks, references = open_references(
            reference_dir, manifest, extractors, sources, device, executor
        )
    if context.is_distributed:
        content = {
            "snapshots": {path.name: sha256_file(path) for path in paths.values()},
            "extractors": {network.name: network.describe() for network in networks},
            "settings": settings.model_dump(),
        }
        context.agree(content, "model, extractor or protocol")
    references = [each.with_baseline(settings.num_samples) for each in references]
    results = MetricResults(common_protocol(manifest, settings.num_samples, settings.seed))
    with exact_arithmetic():
        for suffix, G in generators.items():
            extraction = measure_model(results, G, networks, references, settings, executor, suffix)
            if context.is_main:
                _add_within_class_std(results, G, extraction, references[0], suffix)
        with context.raise_on_all():
            if context.is_main:
                for network, reference in zip(networks, references, strict=True):
                    measure_reference(results, reference, settings, network.describe())
                write_samples(files.samples, generators[""], settings.seed)
                results.write(files.metrics, files.protocol)
    return results.values


def measure_model(
    results: MetricResults,
    G: SnapshotGenerator,
    extractors: Sequence[Extractor],
    references: Sequence[ReferenceStatistics],
    settings: EvaluateSection,
    executor: ParallelExecutor,
    weights_suffix: str = "",
) -> Extraction:
    """Adds the metrics of a generator's images under each extractor, on the main process.

    `references` are the main process's, by extractor. A collective.
    """
    inputs = draw(settings.seed, settings.num_samples, G.z_dim, G.num_classes)
    extraction = extract_generated(G, inputs, extractors, executor, G.name)
    drawn = draw_by_class(G, extractors, references, settings, executor)
    with executor.context.raise_on_all():
        if executor.context.is_main:
            for statistics, extractor, reference, by_class in zip(
                extraction.statistics, extractors, references, drawn, strict=True
            ):
                entry = {**extractor.describe(), **describe_model(G)}
                measure_generated(
                    results,
                    statistics,
                    reference,
                    settings,
                    entry,
                    weights_suffix,
                    drawn_by_class=by_class,
                )
    return extraction


def draw_by_class(
    G: SnapshotGenerator,
    extractors: Sequence[Extractor],
    references: Sequence[ReferenceStatistics],
    settings: EvaluateSection,
    executor: ParallelExecutor,
) -> list[ClassDistances | None]:
    """Distances within the classes by extractor, of 5,000 images drawn for each class.

    None where the settings ask for no such draw. On the main process alone. A collective.
    """
    if "intra-fid" not in settings.metrics or settings.intra_fid != "miyato5k":
        return [None] * len(references)
    accumulators = [
        ClassAccumulator(
            class_features(reference.train.features, reference.rows_by_class or []),
            G.num_classes,
            settings.bootstrap,
        )
        for reference in references
    ]
    for label in range(G.num_classes):
        inputs = class_draw(settings.seed, label, MIYATO_PER_CLASS, G.z_dim)
        statistics = extract_generated(G, inputs, extractors, executor, G.name).statistics
        for accumulator, images in zip(accumulators, statistics, strict=True):
            accumulator.add(label, images.features)
    return [accumulator.result() for accumulator in accumulators]


def class_draw(seed: int, label: int, count: int, z_dim: int) -> Draw:
    """The inputs of `count` images of one class, independent of those of other metrics."""
    z = torch.randn(count, z_dim, generator=generator_at(seed, "evaluate-class-latents", label))
    return Draw(seed=seed, z=z, y=torch.full((count,), label))


def open_snapshot(path: Path, manifest: Manifest, device: str) -> SnapshotGenerator:
    """A snapshot of a model of the data set `manifest`; raises UserError for any other."""
    G = load_generator(path, device)
    check_same_dataset(path, G.metadata["dataset_digest"], manifest, G.class_names)
    return G


def check_num_samples(key: str, num_samples: int, manifest: Manifest) -> None:
    """Raises UserError when the value of `key` is too small for the classes."""
    num_classes = len(manifest.class_names)
    if num_samples < 2 * num_classes:
        raise UserError(
            f"{key} = {num_samples} is too few for {num_classes} classes; "
            f"it takes 2 of each: {2 * num_classes}"
        )


def common_protocol(manifest: Manifest, num_samples: int, seed: int) -> dict[str, object]:
    """Protocol entries that all numbers of an evaluation share."""
    return {
        "dataset": manifest.name,
        "dataset_digest": manifest.digest,
        "reference_split": "train",
        "quantisation": QUANTISATION,
        "seed": seed,
        "labels": describe_labels(num_samples, len(manifest.class_names)),
        "versions": library_versions(),
    }


def describe_model(G: SnapshotGenerator) -> dict[str, object]:
    """Protocol entries of a generator."""
    return {
        "weights": "EMA" if G.metadata["ema"] else "raw",
        "nimg": G.metadata["nimg"],
        "run_key": G.metadata["run_key"],
    }


def _add_within_class_std(
    results: MetricResults,
    G: SnapshotGenerator,
    extraction: Extraction,
    reference: ReferenceStatistics,
    suffix: str,
) -> None:
    assert extraction.within_class_std is not None
    assert reference.within_class_std is not None
    ratio = within_class_std_ratio(extraction.within_class_std, reference.within_class_std)
    if ratio is not None:
        results.add(
            f"within_class_std_ratio{suffix}",
            ratio,
            {
                **describe_model(G),
                "extractor": None,
                "weights_sha256": None,
                "resize": "averaged over 8x8 equal areas",
                "num_generated": extraction.statistics[0].moments.count,
                "num_real": reference.protocol.num_train,
                "formula": WITHIN_CLASS_STD_FORMULA,
            },
        )

"""Scores a model: images of the averaged and the raw generator against the real side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.class_draws import draw_by_class
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.measurements import Measurements, Protocol
from pipeline.evaluation.metrics.intra_fid import ClassDistances
from pipeline.evaluation.metrics.spread import SPREAD_FORMULA, spread_ratio
from pipeline.evaluation.model_side import measure_model_side
from pipeline.evaluation.opened import RealSide, agree_on, open_real_side, open_snapshot
from pipeline.evaluation.passes import Pass, pass_over_generated
from pipeline.evaluation.real_side import measure_real_side
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.sample_files import write_samples
from pipeline.evaluation.sampling import describe_labels, draw
from pipeline.evaluation.versions import library_versions
from pipeline.training.generator import SnapshotGenerator

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
    """Writes `files`, the metrics last, and returns the metrics. A collective of the crew.

    Without a crew this process alone works; of several the main one writes, and the others return
    nothing. Raises UserError, before anything is written, for inputs that are missing, damaged or
    of another data set than `manifest`'s, and for too few samples.
    """
    executor = executor or ParallelExecutor.on(device)
    context = executor.context
    with context.raise_on_all():
        check_num_samples("evaluate.num_samples", settings.num_samples, manifest)
        if not (model_dir / CONFIG_FILE).is_file():  # written last
            raise UserError(f"{model_dir} holds no whole model; `dvc repro train` exports it")
        paths = {"": model_dir / EMA_FILE, "_raw": model_dir / RAW_FILE}
        generators = {s: open_snapshot(path, manifest, device) for s, path in paths.items()}
        real = open_real_side(reference_dir, manifest, extractors, sources, device, executor)
    agree_on(executor, list(paths.values()), real, settings)
    measurements = Measurements(common_protocol(manifest, settings.num_samples, settings.seed))
    with exact_arithmetic():
        passes = {
            suffix: pass_over_generated(
                G,
                draw(settings.seed, settings.num_samples, G.z_dim, G.num_classes),
                real.extractors,
                executor,
                G.name,
            )
            for suffix, G in generators.items()
        }
        facts = [
            RealFacts.of(reference, settings.num_samples, manifest.class_names)
            for reference in real.references
        ]
        drawn = {
            suffix: draw_by_class(G, real.extractors, facts, settings, executor)
            for suffix, G in generators.items()
        }
        with context.raise_on_all():
            if context.is_main:
                for suffix, G in generators.items():
                    entry = describe_model(G)
                    measure_model(
                        measurements,
                        passes[suffix],
                        real,
                        facts,
                        settings,
                        entry,
                        suffix,
                        drawn=drawn[suffix],
                    )
                    _add_spread(measurements, passes[suffix], real, entry, suffix)
                for extractor, known in zip(real.extractors, facts, strict=True):
                    measure_real_side(measurements, known, settings, extractor.describe())
                write_samples(files.samples, generators[""], settings.seed)
                measurements.write(files.metrics, files.protocol)
    return measurements.values


def measure_model(
    measurements: Measurements,
    generated: Pass,
    real: RealSide,
    facts: Sequence[RealFacts],
    settings: EvaluateSection,
    entry: Protocol,
    weights_suffix: str,
    *,
    drawn: Sequence[ClassDistances | None],
) -> None:
    """Adds what a model's images score under each extractor; see `measure_model_side`.

    `entry` is what the protocol says of the model; `facts` and `drawn`, what `draw_by_class` gives,
    are by extractor. For the main process.
    """
    sides = zip(generated.collected, real.extractors, facts, drawn, strict=True)
    for images, extractor, known, by_class in sides:
        measure_model_side(
            measurements,
            images,
            known,
            settings,
            {**extractor.describe(), **entry},
            weights_suffix,
            drawn_by_class=by_class,
        )


def check_num_samples(key: str, num_samples: int, manifest: Manifest) -> None:
    """Raises UserError when the value of `key` is too small for the classes."""
    num_classes = len(manifest.class_names)
    if num_samples < 2 * num_classes:
        raise UserError(
            f"{key} = {num_samples} is too few for {num_classes} classes; "
            f"it takes 2 of each: {2 * num_classes}"
        )


def common_protocol(manifest: Manifest, num_samples: int, seed: int) -> dict[str, object]:
    """What the protocols of all numbers of an evaluation share."""
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
    """What the protocol of a number says of the model."""
    return {
        "weights": "EMA" if G.metadata["ema"] else "raw",
        "nimg": G.metadata["nimg"],
        "run_key": G.metadata["run_key"],
    }


def _add_spread(
    measurements: Measurements, generated: Pass, real: RealSide, entry: Protocol, suffix: str
) -> None:
    assert generated.spread is not None
    assert real.spread is not None
    ratio = spread_ratio(generated.spread, real.spread)
    if ratio is not None:
        measurements.add(
            f"within_class_std_ratio{suffix}",
            ratio,
            {
                **entry,
                "extractor": None,
                "weights_sha256": None,
                "resize": "averaged over 8x8 equal areas",
                "num_generated": generated.collected[0].moments.count,
                "num_real": real.references[0].protocol.num_train,
                "formula": SPREAD_FORMULA,
            },
        )

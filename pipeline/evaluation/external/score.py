"""Scores external images, against the prepared data set or against other external images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.extractors import extractor_name
from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.ingest.data_checks import Rejected
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import read_manifest
from pipeline.evaluation.executor import ParallelExecutor, exact_arithmetic
from pipeline.evaluation.external.labels import number_classes, own_classes
from pipeline.evaluation.external.loading import (
    LoadedImages,
    check_sizes,
    first_size,
    load_images,
    open_images,
    preprocessing_of,
)
from pipeline.evaluation.extractors.dataset_cnn import read_dataset_cnn
from pipeline.evaluation.extractors.extractor import DATASET_CNN, INCEPTION, Extractor
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_extractor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.measure import measure_generated, measure_reference
from pipeline.evaluation.metric_results import MetricResults, library_versions
from pipeline.evaluation.reference.folder import open_references
from pipeline.evaluation.reference.statistics import ReferenceStatistics, describe_reference

MAX_KEPT = 50_000
"""Images of `--against` whose features are kept, as of a data set's training split."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Metrics of external images."""

    results: MetricResults
    rejected: tuple[Rejected, ...]
    """Images that could not be used."""
    notes: tuple[str, ...]
    """Remarks for the user."""


def score_images(
    images: str,
    *,
    against: str | None = None,
    shards: Path,
    reference_dir: Path,
    extractors: Sequence[str],
    sources: WeightSources,
    settings: EvaluateSection,
    resize: int | None,
    scratch: Path,
    device: str,
) -> Scored:
    """The metrics of the images at `images`.

    The real images are those at `against`, which needs neither data set nor reference statistics
    but for `dataset-cnn`, which was trained there; without it they are those of the data set
    `shards` with its reference statistics. `resize` is the size that all images are brought to,
    pixels; None takes them as they are. `scratch` is a folder for files, which the caller removes.
    Raises UserError for images that do not compare, and for missing reference statistics.
    """
    paths = {"--images": images} | ({} if against is None else {"--against": against})
    manifest = read_manifest(shards) if against is None else None
    opened = [open_images(path, option, scratch) for option, path in paths.items()]
    if manifest is None:
        real_size, channels = _network_images(extractors, reference_dir)
    else:
        real_size, channels = manifest.resolution, manifest.channels
    size = _size(resize, real_size) or first_size(opened[0])
    preprocessing = Preprocessing(resolution=size, channels=channels)
    if manifest is not None:
        preprocessing = preprocessing_of(manifest, size)
    loaded = [load_images(each, preprocessing, resize is not None, scratch) for each in opened]
    if resize is None:
        check_sizes(loaded, real_size)

    executor = ParallelExecutor.on(device)
    common: dict[str, Any] = {"dataset": None, "reference_split": None}
    with exact_arithmetic():
        if manifest is not None:
            names: Sequence[str] | None = manifest.class_names
            networks, references = open_references(
                reference_dir, manifest, extractors, sources, device, executor
            )
            common = {
                "dataset": manifest.name,
                "dataset_digest": manifest.digest,
                "reference_split": "train",
            }
        else:
            names = opened[1].class_names or own_classes(set(loaded[1].labels))
            networks = [
                open_extractor(
                    spec, reference_dir / extractor_name(spec), sources, device, image_size=size
                )
                for spec in extractors
            ]
            references = _extract_references(loaded[1], names, networks, executor)
            common["against"] = loaded[1].describe()
            # The numbers of these classes are not those of a classifier of other classes.
            families = [name for name in settings.metrics if name != "accuracy"]
            settings = settings.model_copy(update={"metrics": families})
        labelling = number_classes(set(loaded[0].labels), names)
        statistics = loaded[0].extract(networks, labelling.numbers, executor)
        common |= {
            "images": loaded[0].describe(),
            "quantisation": "as the images come: uint8",
            "seed": None,
            "labels": labelling.note,
            "versions": library_versions(),
        }
        results = MetricResults(common)
        settings = settings.model_copy(update={"num_samples": len(loaded[0].keys)})
        for generated, network, reference in zip(statistics, networks, references, strict=True):
            reference, entry = reference.with_baseline(len(loaded[0].keys)), network.describe()
            measure_generated(results, generated, reference, settings, entry)
            measure_reference(results, reference, settings, {**entry, "images": None})
    notes = [f"{each.path}: {each.note}" for each in opened if each.note]
    if labelling.numbers is None:
        note = f"{images}: metrics by class are left out; labels: {labelling.note}"
        notes.append(note)
    rejected = tuple(rejected for each in loaded for rejected in each.rejected)
    return Scored(results, rejected, tuple(notes))


def _size(resize: int | None, real_size: int | None) -> int | None:
    if resize is not None and real_size is not None and resize != real_size:
        raise UserError(
            f"--resize {resize} differs from the data set's {real_size}x{real_size}; both sides "
            f"of a metric need one size: --resize {real_size}"
        )
    return resize or real_size


def _network_images(extractors: Sequence[str], reference_dir: Path) -> tuple[int | None, int]:
    """Size and channels of the images that the extractors take; None for any size."""
    if DATASET_CNN not in extractors:
        return None, 3
    path = reference_dir / DATASET_CNN / WEIGHTS_FILE
    if not path.exists():
        raise UserError(
            f"{DATASET_CNN} is trained on a data set, and {path} does not exist; name another "
            f"extractor, such as --extractor {INCEPTION}, or make it with `dvc repro reference`"
        )
    config = read_dataset_cnn(path, "cpu")[0].config
    return config.resolution, config.channels


def _extract_references(
    real: LoadedImages,
    class_names: Sequence[str] | None,
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
) -> list[ReferenceStatistics]:
    numbers = number_classes(set(real.labels), class_names).numbers
    return [
        ReferenceStatistics(
            protocol=describe_reference(
                extractor,
                train,
                None,
                dataset_digest=real.describe()["digest"],
                dataset_name=real.images.path,
                num_classes=len(class_names or ()),
            ),
            train=train,
            heldout=None,
            class_names=class_names,
        )
        for extractor, train in zip(
            extractors, real.extract(extractors, numbers, executor, MAX_KEPT), strict=True
        )
    ]

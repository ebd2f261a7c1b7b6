"""Scores images of any origin, against the prepared data set or against other images."""

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
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.external.collect import collect
from pipeline.evaluation.external.image_set import ImageSet, preprocessing_of
from pipeline.evaluation.external.labelling import Labelling, number_classes, own_classes
from pipeline.evaluation.external.open_origin import open_origin
from pipeline.evaluation.external.survey import one_size, survey
from pipeline.evaluation.extractors.dataset_cnn_file import read_dataset_cnn
from pipeline.evaluation.extractors.extractor import DATASET_CNN, INCEPTION, Extractor
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_extractor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.model_side import measure_model_side
from pipeline.evaluation.opened import open_real_side
from pipeline.evaluation.real_side import measure_real_side
from pipeline.evaluation.reference.protocol import Reference, describe_reference
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.versions import library_versions

MAX_KEPT = 50_000
"""Images in the place of real ones whose features are kept, as of a data set's training split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """What scores images, whatever they are compared with."""

    extractors: Sequence[str]
    """Names, or one's own files, as in `reference.extractors`."""
    reference: Path
    """Folder of the real side; of it `dataset-cnn` comes."""
    sources: WeightSources
    settings: EvaluateSection
    """Of the metrics; the number of samples is that of the images."""
    resize: int | None
    """Side that all images are brought to, pixels; None takes them as they are."""
    scratch: Path
    """Folder for files that lie in S3, to be removed afterwards."""
    device: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of it."""

    measurements: Measurements
    rejected: tuple[Rejected, ...]
    """Images that could not be used."""
    notes: tuple[str, ...]
    """What a person should know."""


def score_against_dataset(images: str, shards: Path, scorer: Scorer) -> Scored:
    """The metrics of the images at `images`, with the prepared real side of a data set.

    Raises UserError for images that cannot be compared with it, and for a missing real side.
    """
    manifest = read_manifest(shards)
    origin = open_origin(images, "--images", scorer.scratch)
    seen = survey(origin)
    size = one_size({images: seen}, scorer.resize, manifest.resolution)
    subject = ImageSet(origin, seen, preprocessing_of(manifest, size))
    labelling = number_classes(seen.labels, manifest.class_names)
    executor = ParallelExecutor.on(scorer.device)
    sides = open_real_side(
        scorer.reference, manifest, scorer.extractors, scorer.sources, scorer.device, executor
    )
    with exact_arithmetic():
        collected = collect(subject, sides.extractors, labelling, executor)
        measurements = Measurements(
            {
                "dataset": manifest.name,
                "dataset_digest": manifest.digest,
                "reference_split": "train",
                **_common(subject, labelling),
            }
        )
        for generated, extractor, reference in zip(
            collected, sides.extractors, sides.references, strict=True
        ):
            _measure(
                measurements,
                generated,
                extractor,
                reference,
                manifest.class_names,
                scorer.settings,
            )
    return Scored(measurements, subject.rejected, _notes(subject, labelling))


def score_against_images(images: str, against: str, scorer: Scorer) -> Scored:
    """The metrics of the images at `images`, those at `against` in the place of real ones.

    Neither a data set nor its real side is needed, but for `dataset-cnn`, which was trained there.
    """
    places = {"--images": images, "--against": against}
    origins = [open_origin(path, option, scorer.scratch) for option, path in places.items()]
    seen = [survey(origin) for origin in origins]
    own_size, channels = _network_images(scorer)
    size = one_size(dict(zip(places.values(), seen, strict=True)), scorer.resize, own_size)
    preprocessing = Preprocessing(resolution=size, channels=channels)
    subject, real = (ImageSet(o, s, preprocessing) for o, s in zip(origins, seen, strict=True))
    names = real.origin.class_names or own_classes(real.seen.labels)
    # The numbers of these classes are not those of a classifier that knows others.
    families = [name for name in scorer.settings.metrics if name != "accuracy"]
    settings = scorer.settings.model_copy(update={"metrics": families})
    labelling = number_classes(subject.seen.labels, names)
    extractors = [
        open_extractor(
            spec,
            scorer.reference / extractor_name(spec),
            scorer.sources,
            scorer.device,
            image_size=size,
        )
        for spec in scorer.extractors
    ]
    executor = ParallelExecutor.on(scorer.device)
    with exact_arithmetic():
        collected = collect(subject, extractors, labelling, executor)
        compared = collect(
            real, extractors, number_classes(real.seen.labels, names), executor, MAX_KEPT
        )
        measurements = Measurements(
            {
                "dataset": None,
                "reference_split": None,
                "against": real.describe(),
                **_common(subject, labelling),
            }
        )
        for generated, train, extractor in zip(collected, compared, extractors, strict=True):
            reference = describe_reference(
                extractor,
                train,
                None,
                dataset_digest=real.describe()["digest"],
                dataset_name=real.origin.path,
                num_classes=len(names or ()),
            )
            _measure(measurements, generated, extractor, reference, names, settings)
    return Scored(
        measurements,
        (*subject.rejected, *real.rejected),
        (*_notes(subject, labelling), *_notes(real, None)),
    )


def _network_images(scorer: Scorer) -> tuple[int | None, int]:
    """Side and channels of the images that the extractors take; None for a side of any length."""
    if DATASET_CNN in scorer.extractors:
        path = scorer.reference / DATASET_CNN / WEIGHTS_FILE
        if not path.exists():
            raise UserError(
                f"{DATASET_CNN} is trained on a data set, and {path} does not exist; name another "
                f"extractor, such as --extractor {INCEPTION}, or make it with `dvc repro reference`"
            )
        config = read_dataset_cnn(path, "cpu")[0].config
        return config.resolution, config.channels
    return None, 3


def _measure(
    measurements: Measurements,
    generated: Collected,
    extractor: Extractor,
    reference: Reference,
    class_names: Sequence[str] | None,
    settings: EvaluateSection,
) -> None:
    count = generated.moments.count
    settings = settings.model_copy(update={"num_samples": count})
    real = RealFacts.of(reference, count, class_names)
    entry = extractor.describe()
    measure_model_side(measurements, generated, real, settings, entry, "")
    measure_real_side(measurements, real, settings, {**entry, "images": None})


def _common(subject: ImageSet, labelling: Labelling) -> dict[str, Any]:
    return {
        "images": subject.describe(),
        "quantisation": "as the images come: uint8",
        "seed": None,
        "labels": labelling.note,
        "versions": library_versions(),
    }


def _notes(images: ImageSet, labelling: Labelling | None) -> tuple[str, ...]:
    path, note = images.origin.path, images.origin.note
    notes = [f"{path}: {note}"] if note else []
    if labelling is not None and labelling.numbers is None:
        notes.append(f"{path}: metrics by class are left out; labels: {labelling.note}")
    return tuple(notes)

"""IS and KID."""

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.metrics.intervals import around
from pipeline.evaluation.metrics.moments import Features
from pipeline.evaluation.metrics.score_deviations import (
    KID_POOL,
    inception_score_deviation,
    kid_deviation,
)
from pipeline.evaluation.metrics.scores import (
    IS_FORMULA,
    KID_FORMULA,
    SHUFFLE_SEED,
    inception_score,
    kid,
)
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject


def measure_inception_score(
    measurements: Measurements,
    subject: Subject,
    logits: Features,
    splits: int,
    settings: EvaluateSection,
    formula: str = IS_FORMULA,
) -> None:
    """Adds IS of logits [N, k] where the extractor has classes, k > 1."""
    count, num_classes = logits.shape
    if num_classes < 2:
        return
    score = inception_score(logits, splits)
    interval = None
    if settings.bootstrap:
        deviation = inception_score_deviation(logits, splits, settings.bootstrap)
        how = f"{settings.bootstrap} bootstrap replicates of {subject.resampled}"
        interval = around(score.mean, deviation, how, lowest=1)
    details = {
        **subject.entry,
        "splits": splits,
        "images_per_split": count // splits,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": formula,
    }
    measurements.add(subject.key("is_mean"), score.mean, details, interval)
    measurements.add(subject.key("is_std"), score.std, details)


def measure_kid(
    measurements: Measurements, subject: Subject, real: RealFacts, settings: EvaluateSection
) -> None:
    """Adds KID."""
    features = subject.images.features
    size = min(settings.kid_subset_size, len(features), len(real.pool))
    distance = kid(features, real.pool, settings.kid_subsets, size)
    interval = None
    if settings.bootstrap:
        deviation = kid_deviation(
            features, real.pool, settings.bootstrap, settings.kid_subsets, distance.std
        )
        pool = f" (of {KID_POOL:,} of them)" if len(features) > KID_POOL else ""
        how = (
            f"{settings.bootstrap} bootstrap replicates of {subject.resampled}{pool} under all "
            "pairs and of the choice of the subsets; the real images fixed"
        )
        interval = around(distance.mean, deviation, how)
    details = {
        **subject.entry,
        "num_real": len(real.pool),
        "subsets": settings.kid_subsets,
        "subset_size": size,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": KID_FORMULA,
    }
    measurements.add(subject.key("kid_mean"), distance.mean, details, interval)
    measurements.add(subject.key("kid_std"), distance.std, details)

"""Images drawn for intra-FID alone: 5,000 of each class, a class at a time."""

from collections.abc import Sequence

import torch

from pipeline.config.schema import EvaluateSection
from pipeline.core.randomness import generator_at
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.intra_fid import (
    MIYATO_PER_CLASS,
    ClassAccumulator,
    ClassDistances,
    class_features,
)
from pipeline.evaluation.passes import pass_over_generated
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.sampling import Draw
from pipeline.training.generator import SnapshotGenerator


def draw_by_class(
    G: SnapshotGenerator,
    extractors: Sequence[Extractor],
    facts: Sequence[RealFacts],
    settings: EvaluateSection,
    executor: ParallelExecutor,
) -> list[ClassDistances | None]:
    """Distances within the classes by extractor, where the settings ask for a draw of its own.

    `facts` are the main process's, by extractor; the others have none and get no distances. A
    collective of the crew.
    """
    if "intra-fid" not in settings.metrics or settings.intra_fid != "miyato5k":
        return [None] * len(facts)
    accumulators = [
        ClassAccumulator(
            class_features(real.reference.train.features, real.rows_by_class or []),
            G.num_classes,
            settings.bootstrap,
        )
        for real in facts
    ]
    for label in range(G.num_classes):
        inputs = class_draw(settings.seed, label, MIYATO_PER_CLASS, G.z_dim)
        collected = pass_over_generated(G, inputs, extractors, executor, G.name).collected
        for accumulator, images in zip(accumulators, collected, strict=True):
            accumulator.add(label, images.features)
    return [accumulator.result() for accumulator in accumulators]


def class_draw(seed: int, label: int, count: int, z_dim: int) -> Draw:
    """The inputs of `count` images of one class, independent of those of other metrics."""
    z = torch.randn(count, z_dim, generator=generator_at(seed, "evaluate-class-latents", label))
    return Draw(seed=seed, z=z, y=torch.full((count,), label))

"""FID on a small fixed protocol, for curves over training and for searches: `fid2k_<extractor>`.

2,000 images of the averaged generator, whose latents and labels are always the same, against the
prepared training split. Few images make FID larger, so it compares with itself alone.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from models.generator import Generator
from pipeline.evaluation.executor import ParallelExecutor, exact_arithmetic
from pipeline.evaluation.extraction import extract_generated
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.fid import fid
from pipeline.evaluation.metrics.frechet import FID_FORMULA
from pipeline.evaluation.reference.statistics import ReferenceStatistics
from pipeline.evaluation.sampling import draw

NUM_SAMPLES = 2000
SEED = 2000
"""Of no other evaluation: a model chosen by these numbers is not reported by them."""
STEM = "fid2k"


@dataclass(frozen=True, kw_only=True)
class SmallProtocol:
    """Scores generators in this process alone."""

    extractors: Sequence[Extractor]
    references: Sequence[ReferenceStatistics]
    """By extractor."""
    device: str

    def __call__(self, G: Generator, nimg: int) -> dict[str, float]:
        """FID by key of a generator that `prepare_for_sampling` made at `nimg` images.

        Raises UserError when it or an extractor gives values that are not finite.
        """
        executor = ParallelExecutor.on(self.device)
        # In a thread of its own: the number of cores of an operation is a setting of each thread,
        # and must not change for the training.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._score, G, nimg, executor).result()

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the numbers, by extractor."""
        return tuple(reference.key(STEM) for reference in self.references)

    @property
    def protocols(self) -> dict[str, Mapping[str, Any]]:
        """How the number of each key is measured."""
        return {
            key: {
                **extractor.describe(),
                "num_generated": NUM_SAMPLES,
                "seed": SEED,
                "weights": "EMA",
                "num_real": reference.train.moments.count,
                "reference_split": "train",
                "dataset_digest": reference.protocol.dataset_digest,
                "formula": FID_FORMULA,
            }
            for key, extractor, reference in zip(
                self.keys, self.extractors, self.references, strict=True
            )
        }

    def _score(self, G: Generator, nimg: int, executor: ParallelExecutor) -> dict[str, float]:
        inputs = draw(SEED, NUM_SAMPLES, G.config.z_dim, G.config.num_classes)
        with exact_arithmetic():
            extraction = extract_generated(
                G, inputs, self.extractors, executor, name=f"EMA generator at {nimg} images"
            )
            distances = (
                fid(statistics, reference.normal)
                for statistics, reference in zip(
                    extraction.statistics, self.references, strict=True
                )
            )
            return dict(zip(self.keys, distances, strict=True))

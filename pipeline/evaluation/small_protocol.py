"""FID on a small fixed protocol, for curves over training and for searches: `fid2k_<extractor>`.

2,000 images of the averaged generator, whose latents and labels are always the same, against the
prepared training split. Few images make FID larger: it compares with itself alone.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from models.generator import Generator
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.metrics.frechet import FID_FORMULA
from pipeline.evaluation.opened import RealSide
from pipeline.evaluation.passes import pass_over_generated
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.sampling import draw

NUM_SAMPLES = 2000
SEED = 2000
"""Of no other evaluation: what is chosen by these numbers is not reported by them."""
STEM = "fid2k"


@dataclass(frozen=True, kw_only=True)
class SmallProtocol:
    """Scores generators in this process alone; the real side's factor is computed once."""

    real: RealSide
    facts: tuple[RealFacts, ...]
    """By extractor."""
    device: str

    @classmethod
    def of(cls, real: RealSide, device: str) -> "SmallProtocol":
        """Of an open real side; cheap until the first generator comes."""
        facts = tuple(RealFacts(reference, None) for reference in real.references)
        return cls(real=real, facts=facts, device=device)

    def __call__(self, G: Generator, nimg: int) -> dict[str, float]:
        """FID by key of a generator that `prepare_for_sampling` made at `nimg` images.

        Raises UserError when it or an extractor gives values that are not finite.
        """
        executor = ParallelExecutor.on(self.device)
        # In a thread of its own: how many cores one operation takes is each thread's setting, and
        # that of the training beside it must not change.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._score, G, nimg, executor).result()

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the numbers, by extractor."""
        return tuple(facts.key(STEM) for facts in self.facts)

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
                self.keys, self.real.extractors, self.real.references, strict=True
            )
        }

    def _score(self, G: Generator, nimg: int, executor: ParallelExecutor) -> dict[str, float]:
        inputs = draw(SEED, NUM_SAMPLES, G.config.z_dim, G.config.num_classes)
        with exact_arithmetic():
            found = pass_over_generated(
                G, inputs, self.real.extractors, executor, name=f"EMA generator at {nimg} images"
            )
            distances = (
                facts.distance(collected)
                for facts, collected in zip(self.facts, found.collected, strict=True)
            )
            return dict(zip(self.keys, distances, strict=True))

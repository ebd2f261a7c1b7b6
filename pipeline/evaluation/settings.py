"""What decides the numbers, besides the model and the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.evaluation.metrics.intra_fid import Preset

Family = Literal[
    "fid", "is", "kid", "prc", "prdc", "intra-fid", "fid-infinity", "memorisation", "accuracy"
]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionSettings:
    """The protocol that chooses among snapshots; another than that which reports the chosen."""

    num_samples: int
    """Generated images of each snapshot."""
    seed: int
    """Of their latents and labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings:
    """The protocol of an evaluation."""

    num_samples: int
    """Generated images for each metric."""
    seed: int
    """Of their latents and labels."""
    is_splits: int
    """Splits of the inception score of generated images."""
    kid_subsets: int
    """Subsets of KID."""
    kid_subset_size: int
    """Images in each, where there are as many."""
    metrics: Sequence[Family] = FAMILIES
    """What is measured, in whatever order."""
    intra_fid: Preset = "match"
    """How many generated images of each class intra-FID takes."""
    bootstrap: int = 20
    """Replicates behind each 95 % interval; 0 for none."""

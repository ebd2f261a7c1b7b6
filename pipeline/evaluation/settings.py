"""What decides the numbers, besides the model and the data."""

from dataclasses import dataclass


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

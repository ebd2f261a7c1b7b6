"""A set of images that is scored, and under which names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from pipeline.evaluation.collector import Collected
from pipeline.evaluation.measurements import Protocol


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """Generated images, or real ones in their place."""

    images: Collected
    """What the extractor made of them; all features are kept."""
    key: Callable[[str], str]
    """The full key of a metric by its stem (`fid`, `kid_mean`, ...)."""
    entry: Protocol
    """What the protocol says of extractor and images."""
    resampled: str = "the generated images"
    """What the bootstrap draws from, for the protocol."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.images.moments.count

    def with_entry(self, **changes: Any) -> Self:
        """The same images with more in the protocol."""
        return replace(self, entry={**self.entry, **changes})

"""Where the weights of extractors come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.extractors import INCEPTION
from pipeline.config.schema import ReferenceSection

DOWNLOAD = "download"
DEFAULT_CACHE = Path("data/cache")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSources:
    """What the user said of weights."""

    files: Mapping[str, str] = field(default_factory=dict)
    """By extractor, without its precision: a file, `s3://bucket/key` or `download`."""
    cache_dir: Path = DEFAULT_CACHE
    """Where files from S3 are kept on this node."""


def weight_sources(reference: ReferenceSection, cache_dir: str) -> WeightSources:
    """The sources of a configuration, with the cache of `runtime.cache_dir`."""
    files = dict(reference.extractor_weights)
    if reference.inception_weights is not None:
        files[INCEPTION] = reference.inception_weights
    return WeightSources(files=files, cache_dir=Path(cache_dir))

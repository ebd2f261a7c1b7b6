"""Where the weights of extractors come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.extractors import INCEPTION

DOWNLOAD = "download"
DEFAULT_CACHE = Path("data/cache")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSources:
    """What the user said of weights."""

    files: Mapping[str, str] = field(default_factory=dict)
    """By extractor, without its precision: a file, `s3://bucket/key` or `download`."""
    cache_dir: Path = DEFAULT_CACHE
    """Where files from S3 are kept on this node."""


def weight_sources(
    inception_weights: str | None, extractor_weights: Mapping[str, str], cache_dir: str
) -> WeightSources:
    """Of the values of `params.yaml`: two keys of `reference`, one of `runtime`."""
    files = dict(extractor_weights)
    if inception_weights is not None:
        files[INCEPTION] = inception_weights
    return WeightSources(files=files, cache_dir=Path(cache_dir))

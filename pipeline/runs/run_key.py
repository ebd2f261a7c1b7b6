"""The key of a run: a digest of everything that decides its result."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.distributed.context import DistContext
from pipeline.storage.digest import digest_json, digest_sources
from pipeline.training.settings import TrainSettings

_ROOT = Path(__file__).resolve().parents[2]

RESULT_SOURCES = (
    "models",
    "pipeline/training",
    "pipeline/data/loading",
    "pipeline/core/images.py",
    "pipeline/core/randomness.py",
)
"""Code that decides a run's weights; `dvc.yaml` gives the stage `train` the same folders."""


def run_identity(
    settings: TrainSettings,
    dataset_digest: str,
    context: DistContext = DistContext(),  # noqa: B008
) -> dict[str, Any]:
    """What the key digests.

    The length is no part of it unless the learning rates depend on it: a longer run continues a
    shorter one. Nor is the number of processes, unless each has batch statistics of its own.
    """
    configuration = asdict(settings)
    if not settings.depends_on_length:
        del configuration["total_kimg"]
    if settings.generator.bn_statistics == "process":
        configuration["processes"] = context.world_size
    return {
        "settings": configuration,
        "dataset_digest": dataset_digest,
        "code_digest": code_digest(),
    }


def run_key(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity, in hexadecimal."""
    return digest_json(identity)


def code_digest() -> str:
    """SHA-256 over names and contents of the files of RESULT_SOURCES."""
    return digest_sources(_ROOT, RESULT_SOURCES)

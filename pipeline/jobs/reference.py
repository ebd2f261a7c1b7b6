"""The stage `reference`: reference statistics of the shards under each extractor."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.extractors import PUBLISHED, network_of
from pipeline.config.params import Params
from pipeline.core.allocator import keep_freed_memory
from pipeline.data.shards.streaming import open_anywhere
from pipeline.distributed.context import DistContext
from pipeline.distributed.stopping import stop_reason
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weights import weight_sources
from pipeline.evaluation.reference.compute import describe_bf16_effect, make_references

CACHE_FOLDER = "reference"
"""Within `runtime.cache_dir`."""


@dataclass(frozen=True, kw_only=True)
class ReferencePaths:
    """The reference stage's paths."""

    shards: str
    """A folder, or `s3://bucket/prefix`."""
    out: Path
    """Folder for the reference statistics."""


def make_references_in_group(
    params: Params,
    paths: ReferencePaths,
    device: str,
    context: DistContext,
    should_stop: Callable[[], str | None] | None = None,
) -> None:
    """Computes the reference statistics on `device` with the other processes. A collective.

    `should_stop` returns a reason to stop early, in place of this process's signals.
    """
    keep_freed_memory()
    reference, runtime = params.reference, params.runtime
    with stop_reason(should_stop) as reason:
        with context.raise_on_all():
            dataset = open_anywhere(paths.shards, Path(runtime.cache_dir), runtime.cache_gb)
        context.agree(dataset.manifest.digest, "data set")
        made = make_references(
            dataset,
            paths.out,
            extractors=reference.extractors,
            sources=weight_sources(params.reference, params.runtime.cache_dir),
            cnn_epochs=reference.cnn_epochs,
            seed=reference.seed,
            device=device,
            keep_features=None if reference.keep_features == "all" else reference.keep_features,
            cache_dir=Path(runtime.cache_dir) / CACHE_FOLDER,
            executor=ParallelExecutor.on(device, context, reason),
        )
    for each in made:
        protocol = each.protocol
        taken = "" if each.cached is None else f", taken from {each.cached}"
        print(
            f"{paths.out / protocol.extractor}: {protocol.num_train} training and "
            f"{protocol.num_heldout} held-out images, {protocol.feature_dim} features each{taken}"
        )
        if protocol.bf16_effect is not None:
            print(f"{protocol.extractor}: {describe_bf16_effect(protocol.bf16_effect)}")
        if not protocol.official and network_of(protocol.extractor) in PUBLISHED:
            print(
                f"{protocol.extractor}: these are not the published weights (SHA-256 "
                f"{protocol.weights_sha256[:8]}...); its metrics are named unofficial"
            )

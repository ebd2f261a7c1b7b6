"""Makes the real data's side of the metrics: extractor, moments and features, spread of pixels."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.extractors import extractor_name, network_of
from pipeline.core.errors import UserError
from pipeline.data.shards.reader import Dataset, Rows
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.extractor import DATASET_CNN, Extractor
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_extractor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.passes import Pass, kept_rows, pass_over_real
from pipeline.evaluation.reference.bf16_effect import measure_bf16_effect
from pipeline.evaluation.reference.cache import ReferenceCache
from pipeline.evaluation.reference.classifier import open_everywhere, train_own_classifier
from pipeline.evaluation.reference.folder import (
    PIXELS_FILE,
    copy_reference,
    read_protocol,
    write_pixels,
    write_reference,
)
from pipeline.evaluation.reference.protocol import ReferenceProtocol, describe_reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One extractor's side of what a call has left."""

    protocol: ReferenceProtocol
    cached: Path | None
    """The entry of the cache that it was taken from; None where it was made."""


@dataclass(kw_only=True, slots=True)
class _Side:
    """One extractor on its way to an entry."""

    spec: str
    identity: Mapping[str, Any]
    """What decides its numbers, besides data and code."""
    extractor: Extractor | None
    """None where it is still to be trained."""
    training: dict[str, Any] | None = None
    """How it was."""
    open_exact: Callable[[], Extractor] | None = None
    """Opens the same network in fp32, for one in bf16."""
    entry: Path | None = None
    """Its folder, intact; on the main process alone."""

    @property
    def name(self) -> str:
        return extractor_name(self.spec)


def make_references(
    dataset: Dataset,
    out: Path,
    *,
    extractors: Sequence[str],
    sources: WeightSources,
    cnn_epochs: int,
    seed: int,
    device: str,
    keep_features: int | None = None,
    cache_dir: Path | None = None,
    executor: ParallelExecutor | None = None,
) -> list[Made]:
    """Writes `out` for each extractor, in one pass over the images; returns what was written.

    What `cache_dir` holds is taken from there, without a pass. `keep_features` bounds the images of
    a split whose features are kept, evenly chosen; None keeps all. A collective of the crew; the
    main process writes. Raises UserError for a training split of fewer than 2 images and for
    unusable weights.
    """
    executor = executor or ParallelExecutor.on(device)
    context = executor.context
    cache = ReferenceCache(cache_dir)
    training = {"epochs": cnn_epochs, "seed": seed}
    with context.raise_on_all():
        if len(dataset.train) < 2:
            raise UserError(
                f"the training split holds {len(dataset.train)} images; metrics need 2 or more"
            )
        sides = [_begin(s, training, keep_features, dataset, sources, device) for s in extractors]
        if context.is_main:
            for side in sides:
                side.entry = cache.find(dataset.manifest, side.identity)
    found = context.from_main([side.entry is not None for side in sides])
    missing = [side for side, there in zip(sides, found, strict=True) if not there]
    fresh = {side.name for side in missing}
    with ExitStack() as stack:
        if missing:
            staging = None
            with context.raise_on_all():
                if context.is_main:
                    staging = stack.enter_context(cache.staging(beside=out))
            _make(missing, dataset, staging, cache, training, keep_features, device, executor)
        made = []
        with context.raise_on_all():
            for side in sides if context.is_main else ():
                assert side.entry is not None
                copy_reference(side.entry, out / side.name)
                protocol = read_protocol(out / side.name, dataset.manifest)
                cached = None if side.name in fresh else side.entry
                made.append(Made(protocol=protocol, cached=cached))
    return made


def _begin(
    spec: str,
    training: Mapping[str, int],
    keep_features: int | None,
    dataset: Dataset,
    sources: WeightSources,
    device: str,
) -> _Side:
    kept = {"keep_features": keep_features}
    if extractor_name(spec) == DATASET_CNN:
        # Known by how it is trained: whoever has to train it to know it has saved nothing.
        return _Side(spec=spec, identity={"extractor": spec, **training, **kept}, extractor=None)
    size = dataset.manifest.resolution
    extractor = open_extractor(spec, Path(), sources, device, image_size=size)
    side = _Side(spec=spec, identity={**extractor.describe(), **kept}, extractor=extractor)
    if network_of(spec) != spec:
        side.open_exact = partial(
            open_extractor, network_of(spec), Path(), sources, device, image_size=size
        )
    return side


def _make(
    sides: Sequence[_Side],
    dataset: Dataset,
    staging: Path | None,
    cache: ReferenceCache,
    training: Mapping[str, int],
    keep_features: int | None,
    device: str,
    executor: ParallelExecutor,
) -> None:
    """Gives each side its entry, in one pass for all; `staging` is the main process's."""
    context = executor.context
    with exact_arithmetic():
        for side in sides:
            if side.extractor is None:
                path = None if staging is None else staging / side.name / WEIGHTS_FILE
                with context.raise_on_all():
                    if path is not None:
                        side.training = train_own_classifier(
                            dataset, path, **training, device=device
                        )
                side.extractor = open_everywhere(path, device, context)
        extractors = [side.extractor for side in sides if side.extractor is not None]

        def passed(rows: Rows, name: str, num_classes: int | None = None) -> Pass:
            scratch = None
            if staging is not None:
                scratch = staging / f"scratch-{name}"
                scratch.mkdir()
            return pass_over_real(
                rows,
                extractors,
                executor,
                max_kept=keep_features,
                scratch=scratch,
                num_classes=num_classes,
            )

        train = passed(dataset.train, "train", len(dataset.manifest.class_names))
        heldout = passed(dataset.heldout, "heldout") if len(dataset.heldout) else None
        if staging is None:
            return
        keys = {
            name: rows.keys(np.flatnonzero(kept_rows(len(rows), keep_features)))
            for name, rows in (("train", dataset.train), ("heldout", dataset.heldout))
        }
        for index, (side, extractor) in enumerate(zip(sides, extractors, strict=True)):
            seen = train.collected[index]
            unseen = None if heldout is None else heldout.collected[index]
            folder = staging / side.name
            effect = None
            if side.open_exact is not None:
                effect = measure_bf16_effect(dataset.train, extractor, side.open_exact())
            assert train.spread is not None
            write_pixels(folder, train.spread, dataset.manifest)
            weights = () if side.training is None else (WEIGHTS_FILE,)
            write_reference(
                folder,
                describe_reference(
                    extractor,
                    seen,
                    unseen,
                    dataset_digest=dataset.manifest.digest,
                    dataset_name=dataset.manifest.name,
                    num_classes=len(dataset.manifest.class_names),
                    training=side.training,
                    bf16_effect=effect,
                ),
                keys,
                (PIXELS_FILE, *weights),
            )
            side.entry = cache.publish(folder, dataset.manifest, side.identity)

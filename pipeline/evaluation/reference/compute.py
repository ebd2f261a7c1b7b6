"""Computes the reference statistics of a data set: extractors, moments, features, pixels."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config.extractors import extractor_name, network_of
from pipeline.core.errors import UserError
from pipeline.data.loading.order import rows_at
from pipeline.data.shards.reader import Dataset, Rows
from pipeline.evaluation.executor import ParallelExecutor, exact_arithmetic
from pipeline.evaluation.extraction import Extraction, extract_real, kept_rows
from pipeline.evaluation.extractors.dataset_cnn import broadcast_dataset_cnn, train_own_classifier
from pipeline.evaluation.extractors.extractor import DATASET_CNN, Extractor
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_extractor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.metrics.frechet import fid_of_moments
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.cache import ReferenceCache
from pipeline.evaluation.reference.folder import copy_reference, read_protocol, write_reference
from pipeline.evaluation.reference.statistics import (
    ReferenceProtocol,
    ReferenceStatistics,
    describe_reference,
)

_BF16_IMAGES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What `make_references` has written for one extractor."""

    protocol: ReferenceProtocol
    cached: Path | None
    """The cache entry that it was copied from; None where it was computed."""


@dataclass(kw_only=True, slots=True)
class _Pending:
    """One extractor whose entry is found in the cache or made."""

    spec: str
    identity: Mapping[str, Any]
    """Decides its numbers, together with data and code."""
    extractor: Extractor | None
    """None where it is still to be trained."""
    training: dict[str, Any] | None = None
    """Description of that training."""
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
    a split whose features are kept, evenly chosen; None keeps all. A collective; the
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
        pending = [_begin(s, training, keep_features, dataset, sources, device) for s in extractors]
        if context.is_main:
            for each in pending:
                each.entry = cache.find(dataset.manifest, each.identity)
    found = context.from_main([each.entry is not None for each in pending])
    missing = [each for each, there in zip(pending, found, strict=True) if not there]
    fresh = {each.name for each in missing}
    with ExitStack() as stack:
        if missing:
            staging = None
            with context.raise_on_all():
                if context.is_main:
                    staging = stack.enter_context(cache.staging(beside=out))
            _make(missing, dataset, staging, cache, training, keep_features, device, executor)
        made = []
        with context.raise_on_all():
            for each in pending if context.is_main else ():
                assert each.entry is not None
                copy_reference(each.entry, out / each.name)
                protocol = read_protocol(out / each.name, dataset.manifest)
                cached = None if each.name in fresh else each.entry
                made.append(Made(protocol=protocol, cached=cached))
    return made


def _begin(
    spec: str,
    training: Mapping[str, int],
    keep_features: int | None,
    dataset: Dataset,
    sources: WeightSources,
    device: str,
) -> _Pending:
    kept = {"keep_features": keep_features}
    if extractor_name(spec) == DATASET_CNN:
        # Identified by its training: its weights' hash would take the training itself.
        return _Pending(spec=spec, identity={"extractor": spec, **training, **kept}, extractor=None)
    size = dataset.manifest.resolution
    extractor = open_extractor(spec, Path(), sources, device, image_size=size)
    pending = _Pending(spec=spec, identity={**extractor.describe(), **kept}, extractor=extractor)
    if network_of(spec) != spec:
        pending.open_exact = partial(
            open_extractor, network_of(spec), Path(), sources, device, image_size=size
        )
    return pending


def _make(
    pending: Sequence[_Pending],
    dataset: Dataset,
    staging: Path | None,
    cache: ReferenceCache,
    training: Mapping[str, int],
    keep_features: int | None,
    device: str,
    executor: ParallelExecutor,
) -> None:
    """Makes the entries in one pass over the images; `staging` is the main process's folder."""
    context = executor.context
    with exact_arithmetic():
        for each in pending:
            if each.extractor is None:
                path = None if staging is None else staging / each.name / WEIGHTS_FILE
                with context.raise_on_all():
                    if path is not None:
                        each.training = train_own_classifier(
                            dataset, path, **training, device=device
                        )
                each.extractor = broadcast_dataset_cnn(path, device, context)
        extractors = [each.extractor for each in pending if each.extractor is not None]

        def extract(rows: Rows, name: str, num_classes: int | None = None) -> Extraction:
            scratch = None
            if staging is not None:
                scratch = staging / f"scratch-{name}"
                scratch.mkdir()
            return extract_real(
                rows,
                extractors,
                executor,
                max_kept=keep_features,
                scratch=scratch,
                num_classes=num_classes,
            )

        train = extract(dataset.train, "train", len(dataset.manifest.class_names))
        heldout = extract(dataset.heldout, "heldout") if len(dataset.heldout) else None
        if staging is None:
            return
        keys = {
            name: rows.keys(np.flatnonzero(kept_rows(len(rows), keep_features)))
            for name, rows in (("train", dataset.train), ("heldout", dataset.heldout))
        }
        for index, (each, extractor) in enumerate(zip(pending, extractors, strict=True)):
            seen = train.statistics[index]
            unseen = None if heldout is None else heldout.statistics[index]
            folder = staging / each.name
            effect = None
            if each.open_exact is not None:
                effect = measure_bf16_effect(dataset.train, extractor, each.open_exact())
            protocol = describe_reference(
                extractor,
                seen,
                unseen,
                dataset_digest=dataset.manifest.digest,
                dataset_name=dataset.manifest.name,
                num_classes=len(dataset.manifest.class_names),
                training=each.training,
                bf16_effect=effect,
            )
            reference = ReferenceStatistics(
                protocol=protocol,
                train=seen,
                heldout=unseen,
                within_class_std=train.within_class_std,
            )
            weights = () if each.training is None else (WEIGHTS_FILE,)
            write_reference(folder, reference, keys, weights)
            each.entry = cache.publish(folder, dataset.manifest, each.identity)


def measure_bf16_effect(rows: Rows, rounded: Extractor, exact: Extractor) -> dict[str, Any]:
    """The difference of two precisions of one network on up to 100 images, for the protocol.

    `relative_feature_error` is the root mean square of the difference over that of the features,
    `relative_distance_change` that of the Frechet distance of one half of the images to the other.
    """
    count = min(_BF16_IMAGES, len(rows))
    index = np.sort(rows_at(0, 0, count, len(rows)))
    images = torch.from_numpy(rows.gather(index)).permute(0, 3, 1, 2)  # (B, C, R, R)
    features, expected = (each.extract(images)[0].double() for each in (rounded, exact))
    effect: dict[str, Any] = {
        "num_images": count,
        "relative_feature_error": float((features - expected).norm() / expected.norm()),
        "relative_distance_change": None,
    }
    if count >= 4:
        distances = [_distance_of_halves(each) for each in (features, expected)]
        if distances[1] > 0:
            effect["relative_distance_change"] = distances[0] / distances[1] - 1
    return effect


def describe_bf16_effect(effect: Mapping[str, Any]) -> str:
    """The effect as a sentence."""
    change = effect["relative_distance_change"]
    distance = "" if change is None else f", the Frechet distance of their halves by {change:+.2%}"
    return (
        f"bf16 moves the features of {effect['num_images']} images by "
        f"{effect['relative_feature_error']:.2%}{distance}; keep its metrics apart from fp32's"
    )


def _distance_of_halves(features: torch.Tensor) -> float:
    halves = features.numpy()[::2], features.numpy()[1::2]
    return fid_of_moments(*map(Moments.of, halves))

"""Makes the real data's side of the metrics: extractor, moments and features, spread of pixels."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pipeline.data.order import rows_at
from pipeline.data.reader import Dataset, Rows
from pipeline.errors import UserError
from pipeline.evaluation.collector import Collected, Collector
from pipeline.evaluation.exact_arithmetic import exact_arithmetic
from pipeline.evaluation.extractors.dataset_cnn import DatasetCnnConfig
from pipeline.evaluation.extractors.dataset_cnn_file import write_dataset_cnn
from pipeline.evaluation.extractors.dataset_cnn_training import measure_accuracy, train_dataset_cnn
from pipeline.evaluation.extractors.extractor import DATASET_CNN, Extractor
from pipeline.evaluation.extractors.names import extractor_name
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_extractor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.metrics.spread import ClassSpread
from pipeline.evaluation.reference_folder import (
    PROTOCOL_FILE,
    Reference,
    ReferenceProtocol,
    write_pixels,
    write_reference,
)
from pipeline.evaluation.versions import library_versions

MAX_KEPT = 50_000
"""Images of a split whose features are kept; of a larger split an even random choice."""
_BATCH = 250


def make_references(
    dataset: Dataset,
    out: Path,
    *,
    extractors: Sequence[str],
    sources: WeightSources,
    cnn_epochs: int,
    seed: int,
    device: str,
) -> list[ReferenceProtocol]:
    """Writes `out` for each extractor, in one pass over the images; returns what was written.

    Raises UserError for a training split of fewer than 2 images and for unusable weights.
    """
    if len(dataset.train) < 2:
        raise UserError(
            f"the training split holds {len(dataset.train)} images; metrics need 2 or more"
        )
    opened: list[Extractor] = []
    training: dict[str, dict[str, Any]] = {}
    size = dataset.manifest.resolution
    for spec in extractors:
        name = extractor_name(spec)
        folder = out / name
        if name == DATASET_CNN:
            (folder / PROTOCOL_FILE).unlink(missing_ok=True)  # it described other weights
            training[name] = _train(dataset, folder / WEIGHTS_FILE, cnn_epochs, seed, device)
        opened.append(open_extractor(spec, folder, sources, device, image_size=size))

    spread = ClassSpread(len(dataset.manifest.class_names))
    with exact_arithmetic():
        train = _collect(dataset.train, opened, spread)
        heldout = (
            _collect(dataset.heldout, opened) if len(dataset.heldout) else [None] * len(opened)
        )
    write_pixels(out, spread.by_class(), dataset.manifest)
    references = [
        Reference(
            protocol=_describe(dataset, extractor, seen, unseen, training.get(extractor.name)),
            train=seen,
            heldout=unseen,
        )
        for extractor, seen, unseen in zip(opened, train, heldout, strict=True)
    ]
    for reference in references:
        protocol = reference.protocol
        own_files = (WEIGHTS_FILE,) if protocol.training is not None else ()
        write_reference(out / protocol.extractor, reference, own_files)
    return [reference.protocol for reference in references]


def _describe(
    dataset: Dataset,
    extractor: Extractor,
    train: Collected,
    heldout: Collected | None,
    training: dict[str, Any] | None,
) -> ReferenceProtocol:
    return ReferenceProtocol(
        extractor=extractor.name,
        weights_sha256=extractor.weights_sha256,
        official=extractor.official,
        feature_dim=extractor.feature_dim,
        resize=extractor.resize,
        dataset_digest=dataset.manifest.digest,
        dataset_name=dataset.manifest.name,
        num_classes=len(dataset.manifest.class_names),
        num_train=len(dataset.train),
        num_kept_train=len(train.features),
        num_heldout=len(dataset.heldout),
        num_kept_heldout=0 if heldout is None else len(heldout.features),
        heldout_accuracy=None if training is None else training["heldout_accuracy"],
        training=training,
        versions=library_versions(),
    )


def _train(dataset: Dataset, path: Path, epochs: int, seed: int, device: str) -> dict[str, Any]:
    manifest = dataset.manifest
    config = DatasetCnnConfig(
        resolution=manifest.resolution,
        channels=manifest.channels,
        num_classes=len(manifest.class_names),
    )
    start = time.monotonic()
    network = train_dataset_cnn(dataset.train, config, epochs=epochs, seed=seed, device=device)
    elapsed_s = time.monotonic() - start
    facts = {
        "dataset_digest": manifest.digest,
        "seed": seed,
        "epochs": epochs,
        "num_train": len(dataset.train),
        "num_heldout": len(dataset.heldout),
        "heldout_accuracy": measure_accuracy(network, dataset.heldout, device),
    }
    write_dataset_cnn(path, network, facts)
    accuracy = facts["heldout_accuracy"]
    print(
        f"dataset-cnn: trained on {len(dataset.train)} images for {epochs} epochs in "
        f"{elapsed_s:.1f} s, "
        + (
            "no held-out images to measure it on"
            if accuracy is None
            else f"right on {accuracy:.1%} of {len(dataset.heldout)} held-out images"
        )
    )
    return facts


def _collect(
    rows: Rows, extractors: Sequence[Extractor], spread: ClassSpread | None = None
) -> list[Collected]:
    keep = _kept(len(rows))
    collectors = [Collector(extractor) for extractor in extractors]
    with tqdm(total=len(rows), desc="real images", unit="img", disable=None, leave=False) as bar:
        for start in range(0, len(rows), _BATCH):
            index = np.arange(start, min(start + _BATCH, len(rows)))
            images = torch.from_numpy(rows.gather(index)).permute(0, 3, 1, 2)  # (B, C, R, R)
            labels = torch.from_numpy(rows.labels[index].astype(np.int64))
            for collector in collectors:
                collector.add(images, labels, keep[index])
            if spread is not None:
                spread.add(images, labels)
            bar.update(len(index))
    return [collector.collected() for collector in collectors]


def _kept(num_rows: int) -> npt.NDArray[np.bool_]:
    keep = np.zeros(num_rows, np.bool_)
    keep[rows_at(0, 0, min(num_rows, MAX_KEPT), num_rows)] = True
    return keep

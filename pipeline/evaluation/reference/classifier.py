"""The data set's own classifier, trained by the main process and handed to the others."""

import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.data.shards.reader import Dataset
from pipeline.distributed.context import DistContext
from pipeline.evaluation.extractors.dataset_cnn import DatasetCnnConfig
from pipeline.evaluation.extractors.dataset_cnn_file import write_dataset_cnn
from pipeline.evaluation.extractors.dataset_cnn_training import measure_accuracy, train_dataset_cnn
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.open_extractor import open_dataset_cnn
from pipeline.storage.atomic import write_bytes


def train_own_classifier(
    dataset: Dataset, path: Path, *, epochs: int, seed: int, device: str
) -> dict[str, Any]:
    """Writes the classifier's weights to `path`; returns how it was trained."""
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


def open_everywhere(path: Path | None, device: str, context: DistContext) -> Extractor:
    """The extractor of a weights file that the main process has, on all. A collective."""
    content = context.from_main(None if path is None else path.read_bytes())
    if path is not None:
        return open_dataset_cnn(path, device)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "weights.safetensors"
        write_bytes(copy, content)
        return open_dataset_cnn(copy, device)

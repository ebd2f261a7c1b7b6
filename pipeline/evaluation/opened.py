"""What an evaluation opens first: snapshots, and the real side with its extractors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config.extractors import extractor_name
from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.extractors.open_extractor import open_extractor
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.reference.folder import (
    check_same_dataset,
    read_pixels,
    read_reference,
)
from pipeline.evaluation.reference.protocol import Reference
from pipeline.storage.digest import sha256_file
from pipeline.training.generator import SnapshotGenerator, load_generator


@dataclass(frozen=True, kw_only=True, slots=True)
class RealSide:
    """What generated images are compared with; all but the extractors is the main process's."""

    extractors: Sequence[Extractor]
    references: Sequence[Reference]
    spread: npt.NDArray[np.float64] | None


def open_snapshot(path: Path, manifest: Manifest, device: str) -> SnapshotGenerator:
    """A snapshot of a model of the data set `manifest`; raises UserError for any other."""
    G = load_generator(path, device)
    check_same_dataset(path, G.metadata["dataset_digest"], manifest, G.class_names)
    return G


def open_real_side(
    folder: Path,
    manifest: Manifest,
    specs: Sequence[str],
    sources: WeightSources,
    device: str,
    executor: ParallelExecutor,
) -> RealSide:
    """Opens `data/reference` for the extractors; raises UserError where they do not fit."""
    folders = [folder / extractor_name(spec) for spec in specs]
    is_main = executor.context.is_main
    references = [read_reference(each, manifest) for each in folders] if is_main else []
    size = manifest.resolution
    extractors = [
        open_extractor(spec, each, sources, device, image_size=size)
        for spec, each in zip(specs, folders, strict=True)
    ]
    for reference, extractor in zip(references, extractors, strict=is_main):
        made_with = reference.protocol.weights_sha256
        if extractor.weights_sha256 != made_with:
            raise UserError(
                f"{folder / extractor.name} was made with other weights ({made_with[:12]}) than "
                f"those at hand ({extractor.weights_sha256[:12]}); make it anew with "
                "`dvc repro --force reference`"
            )
    spread = read_pixels(folders[0], manifest) if is_main else None
    return RealSide(extractors=extractors, references=references, spread=spread)


def agree_on(
    executor: ParallelExecutor,
    snapshots: Sequence[Path],
    real: RealSide,
    settings: EvaluateSection,
) -> None:
    """Raises UserError on all when processes would score different things. A collective."""
    if executor.context.is_distributed:
        content = {
            "snapshots": {path.name: sha256_file(path) for path in snapshots},
            "extractors": {e.name: e.describe() for e in real.extractors},
            "settings": settings.model_dump(),
        }
        executor.context.agree(content, "model, extractor or protocol")

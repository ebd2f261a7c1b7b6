"""Extraction of features from images: generated or read, quantised, and run through the extractors.

All processes of the executor share the blocks; the main one collects the results.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from models.generator import Generator
from pipeline.core.errors import UserError
from pipeline.data.loading.order import rows_at
from pipeline.data.shards.reader import Rows
from pipeline.evaluation.executor import ParallelExecutor, blocks_of
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.features import FeatureAccumulator, FeatureStatistics, Float32
from pipeline.evaluation.metrics.within_class_std import ClassPixelStd
from pipeline.evaluation.sampling import BLOCK, Draw, generate

REAL_BLOCK = 250

Images = Callable[[range], tuple[torch.Tensor, torch.Tensor]]
"""Gives images uint8 (B, C, R, R) and labels int64 (B,) of a range."""

_Extracted = tuple[Float32, Float32]  # features [B, d] and logits [B, k]
_Block = tuple[range, list[_Extracted], npt.NDArray[np.int64]]  # rows, by extractor, labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Extraction:
    """Features of a set of images; only the main process's copy is meaningful."""

    statistics: list[FeatureStatistics]
    """By extractor."""
    within_class_std: npt.NDArray[np.float64] | None
    """[classes], of pixels; None where it was not measured."""


def extract_generated(
    G: Generator,
    inputs: Draw,
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    name: str,
) -> Extraction:
    """Extracts all images that G, called `name`, generates from the inputs. A collective."""
    return extract_blocks(
        lambda rows: (generate(G, inputs, rows, name), inputs.y[rows.start : rows.stop]),
        blocks_of(len(inputs.y), BLOCK),
        inputs.name,
        extractors,
        executor,
        pixel_std=ClassPixelStd(G.config.num_classes),
        title="generated",
    )


def extract_real(
    rows: Rows,
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    *,
    max_kept: int | None,
    scratch: Path | None = None,
    num_classes: int | None = None,
) -> Extraction:
    """Extracts all rows; features of `max_kept` of them are kept, evenly chosen, or of all.

    They lie in files in the folder `scratch`, which exists, or in memory. With `num_classes` the
    within-class standard deviation of pixels is measured, too. A collective.
    """

    def read(block: range) -> tuple[torch.Tensor, torch.Tensor]:
        index = np.arange(block.start, block.stop)
        images = torch.from_numpy(rows.gather(index)).permute(0, 3, 1, 2)  # (B, C, R, R)
        return images, torch.from_numpy(rows.labels_of(index))

    return extract_blocks(
        read,
        blocks_of(len(rows), REAL_BLOCK),
        lambda row: f"image {rows.keys(np.array([row]))[0]}",
        extractors,
        executor,
        pixel_std=None if num_classes is None else ClassPixelStd(num_classes),
        title="real images",
        keep=kept_rows(len(rows), max_kept),
        scratch=scratch,
    )


def kept_rows(num_rows: int, max_kept: int | None) -> npt.NDArray[np.bool_]:
    """Mask [num_rows] of the rows whose features are kept."""
    if max_kept is None or max_kept >= num_rows:
        return np.ones(num_rows, np.bool_)
    keep = np.zeros(num_rows, np.bool_)
    keep[rows_at(0, 0, max_kept, num_rows)] = True
    return keep


def extract_blocks(
    images_of: Images,
    blocks: Sequence[range],
    name_of: Callable[[int], str],
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    *,
    title: str,
    pixel_std: ClassPixelStd | None = None,
    keep: npt.NDArray[np.bool_] | None = None,
    scratch: Path | None = None,
) -> Extraction:
    """Extracts consecutive `blocks` of rows, keeping the features of the mask `keep` [N] or all.

    `images_of` is called from several threads. Raises UserError for features that are not finite;
    `name_of` names a row for the message. A collective.
    """
    lock = threading.Lock()

    def work(number: int) -> _Block:
        block = blocks[number]
        images, labels = images_of(block)
        found = [_extract(e, images, lambda i: name_of(block.start + i)) for e in extractors]
        if pixel_std is not None:
            with lock:
                pixel_std.add(images, labels)
        return block, found, labels.numpy()

    is_main = executor.context.is_main
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(
                total=blocks[-1].stop,
                desc=title,
                unit="img",
                disable=None if is_main else True,
                leave=False,
            )
        )
        accumulators = [
            FeatureAccumulator(e.name, e.feature_dim, scratch)
            for e in (extractors if is_main else ())
        ]

        def take(result: _Block) -> None:
            block, found, labels = result
            kept = None if keep is None else keep[block.start : block.stop]
            for accumulator, (features, logits) in zip(accumulators, found, strict=True):
                accumulator.add(features, logits, labels, kept)
            bar.update(len(block))

        executor.for_blocks(len(blocks), work, take)
    by_class = None
    if pixel_std is not None:
        for other in executor.context.gather_to_main(pixel_std)[1:]:
            pixel_std.merge(other)  # the main process's own comes first
        by_class = pixel_std.by_class()
    return Extraction(
        statistics=[accumulator.statistics() for accumulator in accumulators],
        within_class_std=by_class,
    )


def _extract(
    extractor: Extractor, images: torch.Tensor, name_of: Callable[[int], str]
) -> _Extracted:
    features, logits = (part.numpy() for part in extractor.extract(images))
    finite = np.isfinite(features).all(axis=1) & np.isfinite(logits).all(axis=1)
    if not finite.all():
        name = name_of(int(finite.argmin()))
        raise UserError(
            f"{extractor.name} gives features that are not finite for {name}; "
            + (
                "leave that image out"
                if finite.any()
                else f"its weights (SHA-256 {extractor.weights_sha256[:12]}) are damaged"
            )
        )
    return features, logits

"""One pass over images: made or read, quantised, resized, extracted and added up, block by block.

All processes of the crew share the blocks; the main one gathers.
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
from pipeline.data.loading.order import rows_at
from pipeline.data.shards.reader import Rows
from pipeline.evaluation.collector import Collected, Collector, Extracted, extract
from pipeline.evaluation.executor import ParallelExecutor, blocks_of
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.spread import ClassSpread
from pipeline.evaluation.sampling import BLOCK, Draw, generate

REAL_BLOCK = 250

Images = Callable[[range], tuple[torch.Tensor, torch.Tensor]]
"""Gives images uint8 (B, C, R, R) and labels int64 (B,) of a range."""

_Found = tuple[range, list[Extracted], npt.NDArray[np.int64]]  # block, by extractor, labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """What the main process has of a pass; what the others have means nothing."""

    collected: list[Collected]
    """By extractor."""
    spread: npt.NDArray[np.float64] | None
    """[classes], of pixels within each class; None where it was not asked for."""


def pass_over_generated(
    G: Generator,
    inputs: Draw,
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    name: str,
) -> Pass:
    """Of all images that G, called `name`, makes of the inputs. A collective of the crew."""
    return _pass(
        lambda rows: (generate(G, inputs, rows, name), inputs.y[rows.start : rows.stop]),
        blocks_of(len(inputs.y), BLOCK),
        inputs.name,
        extractors,
        executor,
        spread=ClassSpread(G.config.num_classes),
        title="generated",
    )


def pass_over_real(
    rows: Rows,
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    *,
    max_kept: int | None,
    scratch: Path | None = None,
    num_classes: int | None = None,
) -> Pass:
    """Of all rows; features of `max_kept` are kept, evenly chosen, or of all.

    They lie in files in the folder `scratch`, which exists, or in memory. With `num_classes` it
    measures the spread of pixels, too. A collective of the crew.
    """

    def read(block: range) -> tuple[torch.Tensor, torch.Tensor]:
        index = np.arange(block.start, block.stop)
        images = torch.from_numpy(rows.gather(index)).permute(0, 3, 1, 2)  # (B, C, R, R)
        return images, torch.from_numpy(rows.labels_of(index))

    return _pass(
        read,
        blocks_of(len(rows), REAL_BLOCK),
        lambda row: f"image {rows.keys(np.array([row]))[0]}",
        extractors,
        executor,
        spread=None if num_classes is None else ClassSpread(num_classes),
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


def _pass(
    images_of: Images,
    blocks: Sequence[range],
    name_of: Callable[[int], str],
    extractors: Sequence[Extractor],
    executor: ParallelExecutor,
    *,
    spread: ClassSpread | None,
    title: str,
    keep: npt.NDArray[np.bool_] | None = None,
    scratch: Path | None = None,
) -> Pass:
    lock = threading.Lock()

    def work(number: int) -> _Found:
        block = blocks[number]
        images, labels = images_of(block)
        found = [extract(e, images, lambda i: name_of(block.start + i)) for e in extractors]
        if spread is not None:
            with lock:
                spread.add(images, labels)
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
        collectors = [Collector(e, scratch) for e in (extractors if is_main else ())]

        def take(result: _Found) -> None:
            block, found, labels = result
            kept = None if keep is None else keep[block.start : block.stop]
            for collector, (features, logits) in zip(collectors, found, strict=True):
                collector.take(features, logits, labels, kept)
            bar.update(len(block))

        executor.for_blocks(len(blocks), work, take)
    by_class = None
    if spread is not None:
        for other in executor.context.gather_to_main(spread)[1:]:
            spread.absorb(other)  # its own stands first
        by_class = spread.by_class()
    return Pass(collected=[collector.collected() for collector in collectors], spread=by_class)

"""One pass over images of any origin: decoded ahead, extracted on several threads."""

import dataclasses
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pipeline.evaluation.collector import Collected, Collector, Extracted, extract
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.external.image_set import Batch, ImageSet
from pipeline.evaluation.external.labelling import Labelling
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.passes import kept_rows


def collect(
    images: ImageSet,
    extractors: Sequence[Extractor],
    labelling: Labelling,
    executor: ParallelExecutor,
    max_kept: int | None = None,
) -> list[Collected]:
    """All images by each extractor, with the features of all or of `max_kept` of them.

    What is kept stands in the order of the images' digests: metrics that cut images into parts
    take them for shuffled, and folders come sorted by class. Without numbers for the labels there
    are none. Raises UserError naming the image for features that are not finite.
    """
    keep = kept_rows(images.seen.count, max_kept)
    collectors = [Collector(extractor) for extractor in extractors]
    numbers = labelling.numbers
    pending: deque[tuple[Batch, list[Future[Extracted]]]] = deque()
    start = 0

    def take() -> None:
        nonlocal start
        batch, found = pending.popleft()
        labels = np.array(
            [-1 if numbers is None else numbers[label] for label in batch.labels], np.int64
        )
        rows = keep[start : start + len(labels)]
        for collector, future in zip(collectors, found, strict=True):
            collector.take(*future.result(), labels, rows)
        start += len(labels)
        bar.update(len(labels))

    with (
        tqdm(
            total=len(keep), desc=images.origin.path, unit="img", disable=None, leave=False
        ) as bar,
        ThreadPoolExecutor(
            executor.num_threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as p,
    ):
        for batch in images.batches():
            pending.append((batch, [p.submit(_extract, e, batch) for e in extractors]))
            if len(pending) > 2 * executor.num_threads:
                take()
        while pending:
            take()
    kept = np.array(images.digests)[keep[:start]]
    order = np.argsort(kept, kind="stable")
    return [_sorted(collector.collected(), order, numbers is not None) for collector in collectors]


def _sorted(collected: Collected, order: npt.NDArray[np.int64], has_labels: bool) -> Collected:
    labels = collected.labels
    assert labels is not None
    return dataclasses.replace(
        collected,
        features=collected.features[order],
        logits=collected.logits[order],
        labels=labels[order] if has_labels else None,
    )


def _extract(extractor: Extractor, batch: Batch) -> Extracted:
    return extract(extractor, batch.images, lambda index: batch.keys[index])

"""This project's own shards as images to score or to score against: their training split."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.external.origin import Found, Origin

_BATCH = 256


def shards_origin(path: str, folder: Path) -> Origin:
    """The training images of a folder of shards, checked against its manifest; raises UserError."""
    dataset = open_dataset(folder)
    rows, names = dataset.train, dataset.manifest.class_names

    def read() -> Iterator[Found]:
        for start in range(0, len(rows), _BATCH):
            index = np.arange(start, min(start + _BATCH, len(rows)))
            images = rows.gather(index)
            for row, image in zip(index.tolist(), images, strict=True):
                pixels = image[:, :, 0] if image.shape[2] == 1 else image
                yield Found(f"train/{row:06}", pixels, names[rows.labels[row]])

    return Origin(
        path=path,
        layout=f"shards of {dataset.manifest.name}, training split",
        read=read,
        class_names=names,
    )

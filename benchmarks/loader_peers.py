"""MosaicML streaming and WebDataset on the same images, with the settings that serve them best.

Best, of those tried: raw bytes in place of encoded images, batches made in the workers, and the
faster of no and two worker processes, which is measured each time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.loader_data import image_chunks, labels_of
from pipeline.evaluation.extractors.torchvision_import import import_torchvision

PeerBatches = Iterator[tuple[torch.Tensor, torch.Tensor]]
WORKERS = (0, 2)
_SHARD_BYTES = 64 << 20
_SHUFFLE_BUFFER = 1000


def find_peers() -> dict[
    str, Callable[[Path, int, int, int], dict[str, Callable[[], PeerBatches]]]
]:
    """The peers that can be imported, by name; the extra `bench` brings them."""
    peers: dict[str, Callable[..., dict[str, Callable[[], PeerBatches]]]] = {}
    try:
        import_torchvision()  # which MosaicML imports
        import streaming  # noqa: F401

        peers["MosaicML streaming"] = open_mosaic
    except ImportError:
        pass
    try:
        import webdataset  # noqa: F401

        peers["WebDataset"] = open_webdataset
    except ImportError:
        pass
    return peers


def open_mosaic(
    folder: Path, num_images: int, resolution: int, batch: int
) -> dict[str, Callable[[], PeerBatches]]:
    """Writes the images as MDS; an epoch's shuffled batches for each number of workers."""
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    labels = labels_of(num_images)
    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=_SHARD_BYTES) as writer:
        row = 0
        for images in image_chunks(num_images, resolution):
            for image in images:
                writer.write({"image": image.tobytes(), "label": int(labels[row])})
                row += 1
    collate = _Collate(resolution, "image", "label")

    def epoch(num_workers: int) -> PeerBatches:
        dataset = StreamingDataset(local=str(folder), batch_size=batch, shuffle=True)
        return _loader(dataset, num_workers, batch_size=batch, collate_fn=collate)

    return {f"{n} workers": lambda n=n: epoch(n) for n in WORKERS}


def open_webdataset(
    folder: Path, num_images: int, resolution: int, batch: int
) -> dict[str, Callable[[], PeerBatches]]:
    """Writes the images as tars; an epoch's shuffled batches for each number of workers."""
    import webdataset

    labels = labels_of(num_images)
    folder.mkdir()
    row, pattern = 0, str(folder / "%05d.tar")
    per_tar = max(1, min(_SHARD_BYTES // (resolution**2 * 3), num_images // 4))
    with webdataset.ShardWriter(pattern, maxcount=per_tar, verbose=0) as writer:
        for images in image_chunks(num_images, resolution):
            for image in images:
                name, label = f"{row:08}", str(labels[row]).encode()
                writer.write({"__key__": name, "img": image.tobytes(), "cls": label})
                row += 1
    urls = [str(path) for path in sorted(folder.iterdir())]
    collate = _Collate(resolution, "img", "cls")

    def epoch(num_workers: int) -> PeerBatches:
        dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), seed=0)
        batched = dataset.shuffle(_SHUFFLE_BUFFER).batched(batch, collation_fn=collate)
        return _loader(batched, num_workers, batch_size=None)

    return {f"{n} workers": lambda n=n: epoch(n) for n in WORKERS}


class _Collate:
    """Raw samples to a batch; a class, as workers must be able to pickle it."""

    def __init__(self, resolution: int, image: str, label: str) -> None:
        self._shape = (resolution, resolution, 3)
        self._image, self._label = image, label

    def __call__(self, samples: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        images = np.empty((len(samples), *self._shape), np.uint8)
        for index, sample in enumerate(samples):
            images[index] = np.frombuffer(sample[self._image], np.uint8).reshape(self._shape)
        labels = [int(sample[self._label]) for sample in samples]
        return torch.from_numpy(images), torch.tensor(labels)


def _loader(dataset: Any, num_workers: int, **settings: Any) -> PeerBatches:
    prefetch = {"prefetch_factor": 4} if num_workers else {}
    return iter(
        torch.utils.data.DataLoader(dataset, num_workers=num_workers, **prefetch, **settings)
    )

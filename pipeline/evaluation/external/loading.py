"""External images decoded to one size and mode, in a file, with what the protocol needs of them."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.core.errors import UserError
from pipeline.data.ingest.data_checks import Rejected
from pipeline.data.ingest.preprocessing import (
    PILLOW_MODE,
    ImageHeader,
    Preprocessing,
    UndecodableError,
    decode,
    pillow_warnings,
    read_header,
)
from pipeline.data.shards.manifest import MANIFEST_FILE, Manifest
from pipeline.data.shards.reader import open_dataset
from pipeline.data.sources.external import ExternalImage, ExternalImages, Label, open_external
from pipeline.data.sources.source import Unreadable
from pipeline.evaluation.executor import ParallelExecutor, blocks_of
from pipeline.evaluation.extraction import extract_blocks, kept_rows
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.features import FeatureStatistics
from pipeline.storage.disk_space import explain_full_folder

MAX_REJECTED = 0.01
"""Fraction of images that may be unusable, as in the ingest's default."""
_BATCH = 100
_MAX_NAMED = 5
_MAX_SIZES = 10  # named in a protocol


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedImages:
    """The usable images of a set, in the order of their digests.

    Metrics that split images into parts take them for shuffled, and folders come sorted by class;
    so no number depends on the container.
    """

    images: ExternalImages
    preprocessing: Preprocessing
    pixels: npt.NDArray[np.uint8]
    """[N, R, R, C], mapped from a file in the order of reading."""
    order: npt.NDArray[np.int64]
    """[N], rows of `pixels` by ascending digest."""
    keys: Sequence[str]
    """[N], of the rows of `pixels`, as are digests and labels."""
    digests: Sequence[bytes]
    """SHA-256 of each image's pixels."""
    labels: Sequence[Label]
    sizes: Mapping[tuple[int, int], int]
    """Number of images of each (width, height), the most frequent first."""
    modes: Mapping[str, int]
    """Number of images of each of Pillow's modes, the most frequent first."""
    rejected: Sequence[Rejected]
    """Images that could not be used, in the order of their keys."""

    def extract(
        self,
        extractors: Sequence[Extractor],
        numbers: Mapping[Label, int] | None,
        executor: ParallelExecutor,
        max_kept: int | None = None,
    ) -> list[FeatureStatistics]:
        """By extractor, with the features of all or of `max_kept` images and `numbers` as labels.

        Raises UserError naming the image for features that are not finite.
        """
        labels = np.array([-1 if numbers is None else numbers[label] for label in self.labels])

        def read(block: range) -> tuple[torch.Tensor, torch.Tensor]:
            rows = self.order[block.start : block.stop]
            images = torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2)  # (B, C, R, R)
            return images, torch.from_numpy(labels[rows])

        statistics = extract_blocks(
            read,
            blocks_of(len(self.order), _BATCH),
            lambda row: self.keys[self.order[row]],
            extractors,
            executor,
            title=self.images.path,
            keep=kept_rows(len(self.order), max_kept),
        ).statistics
        if numbers is None:
            return [replace(each, labels=None) for each in statistics]
        return statistics

    def describe(self) -> Mapping[str, Any]:
        """Protocol entry, whose digest depends on neither order nor container of the images."""
        R, C = self.preprocessing.resolution, self.preprocessing.channels
        content = b"".join([f"{R}x{R}x{C}".encode(), *sorted(self.digests)])
        is_resized = set(self.sizes) != {(R, R)}
        return {
            "path": self.images.path,
            "layout": self.images.layout,
            "count": len(self.digests),
            "rejected": len(self.rejected),
            "digest": hashlib.sha256(content).hexdigest(),
            "size": f"{R}x{R}",
            "mode": PILLOW_MODE[C],
            "sizes_found": _largest(self.sizes) if is_resized else None,
            "modes_found": dict(self.modes),
            "preparation": self.preprocessing.describe() if is_resized else "none but the mode's",
        }


def open_images(path: str, option: str, scratch: Path) -> ExternalImages:
    """The images at `path`: those of `open_external`, or the training images of shards."""
    if not (Path(path) / MANIFEST_FILE).is_file():
        return open_external(path, option, scratch)
    dataset = open_dataset(Path(path))  # checked against its manifest
    rows, names = dataset.train, dataset.manifest.class_names

    def read() -> Iterator[ExternalImage]:
        for start in range(0, len(rows), _BATCH):
            index = np.arange(start, min(start + _BATCH, len(rows)))
            for row, image in zip(index.tolist(), rows.gather(index), strict=True):
                pixels = image[:, :, 0] if image.shape[2] == 1 else image
                yield ExternalImage(f"train/{row:06}", pixels, names[rows.labels[row]])

    layout = f"shards of {dataset.manifest.name}, training split"
    return ExternalImages(path=path, layout=layout, read=read, class_names=names)


def load_images(
    images: ExternalImages, preprocessing: Preprocessing, resize: bool, scratch: Path
) -> LoadedImages:
    """Decodes a set of images to a file in `scratch`, in one pass.

    Without `resize` those of another size than the preprocessing's are counted, but not decoded.
    Raises UserError where too many images are damaged, and for fewer than 2.
    """
    shape = (preprocessing.resolution, preprocessing.resolution, preprocessing.channels)
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    keys, digests, labels, rejected = [], [], [], []

    def prepare(image: ExternalImage) -> tuple[ImageHeader, npt.NDArray[np.uint8] | None] | str:
        try:
            if isinstance(image.raw, Unreadable):
                raise UndecodableError(image.raw.reason)
            header = read_header(image.raw)
            if not resize and (header.width, header.height) != shape[:2]:
                return header, None
            return header, np.ascontiguousarray(decode(image.raw, preprocessing, image.key)[0])
        except UndecodableError as error:
            return str(error)

    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"{len(list(scratch.iterdir()))}.pixels"
    with (
        explain_full_folder(scratch, "set TMPDIR to a folder on another disk"),
        path.open("wb") as file,
        pillow_warnings(),
        ThreadPoolExecutor() as pool,
    ):
        source = images.read()
        while chunk := list(islice(source, _BATCH)):
            for image, found in zip(chunk, pool.map(prepare, chunk), strict=True):
                if isinstance(found, str):
                    rejected.append(Rejected(key=image.key, reason=found))
                    continue
                header, pixels = found
                sizes[header.width, header.height] += 1
                modes[header.mode] += 1
                if pixels is not None:
                    keys.append(image.key)
                    labels.append(image.label)
                    digests.append(hashlib.sha256(pixels.data).digest())
                    file.write(pixels.data)
    _check_usable(images.path, rejected, sizes.total())
    # An empty file cannot be mapped.
    pixels = np.memmap(path, np.uint8, "r") if keys else np.empty(0, np.uint8)
    return LoadedImages(
        images=images,
        preprocessing=preprocessing,
        pixels=pixels.reshape(-1, *shape),
        order=np.argsort(np.array(digests), kind="stable"),
        keys=keys,
        digests=digests,
        labels=labels,
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        rejected=sorted(rejected, key=lambda each: each.key),
    )


def first_size(images: ExternalImages) -> int:
    """The shorter side of the first image that can be read, pixels; 1 where none can be."""
    with pillow_warnings():
        for image in images.read():
            try:
                if not isinstance(image.raw, Unreadable):
                    header = read_header(image.raw)
                    return min(header.width, header.height)
            except UndecodableError:
                continue
    return 1


def check_sizes(loaded: Sequence[LoadedImages], real_size: int | None) -> None:
    """Raises UserError with the counts of the sizes and the cure, unless all are one square.

    `real_size` is the size of the real images, where that is fixed.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    by_path = {each.images.path: each.sizes for each in loaded}
    for counts in by_path.values():
        sizes.update(counts)
    (width, height), _ = sizes.most_common(1)[0]
    where = " and ".join(by_path)
    target = real_size or min(min(size) for size in sizes)
    if len(sizes) > 1:
        shown = ", ".join(f"{n} of {w}x{h}" for (w, h), n in sizes.most_common(_MAX_NAMED))
        more = ", ..." if len(sizes) > _MAX_NAMED else ""
        raise UserError(
            f"{where}: images of {len(sizes)} sizes ({shown}{more}) cannot be compared as one "
            f"set; --resize {target} makes them one"
        )
    if width != height:
        raise UserError(
            f"{where}: all images are {width}x{height}, not squares; --resize {target} takes the "
            "middle square of each and resizes it"
        )
    if real_size is not None and width != real_size:
        raise UserError(
            f"{where}: all images are {width}x{height}, the data set's {real_size}x{real_size}; "
            f"both sides of a metric need one size: --resize {real_size} crops and resizes "
            "these as the data set's were"
        )


def preprocessing_of(manifest: Manifest, resolution: int) -> Preprocessing:
    """The preprocessing of a data set's own images; the default one where the manifest has none."""
    recorded = manifest.preprocessing
    background = str(recorded.get("transparency", "")).removeprefix("over ") or "white"
    for resize in ("bicubic", "lanczos", "box"):
        for crop in ("center", "long-edge"):
            preprocessing = Preprocessing(
                resolution=resolution,
                channels=manifest.channels,
                resize=resize,
                crop=crop,
                background=background,
            )
            if all(recorded.get(key) == value for key, value in preprocessing.describe().items()):
                return preprocessing
    return Preprocessing(resolution=resolution, channels=manifest.channels)


def _check_usable(path: str, rejected: Sequence[Rejected], num_usable: int) -> None:
    total = num_usable + len(rejected)
    if len(rejected) > MAX_REJECTED * total:
        head = "; ".join(f"{r.key} ({r.reason})" for r in rejected[:_MAX_NAMED])
        more = "; ..." if len(rejected) > _MAX_NAMED else ""
        raise UserError(
            f"{path}: {len(rejected)} of {total} images cannot be used, more than "
            f"{MAX_REJECTED:.0%}; mend or remove them: {head}{more}"
        )
    if num_usable < 2:
        raise UserError(
            f"{path} holds {num_usable} image{'s' * (num_usable != 1)}; metrics need 2 or more"
        )


def _largest(sizes: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """The most frequent sizes by name, and how many images have any other."""
    named = {f"{w}x{h}": count for (w, h), count in islice(sizes.items(), _MAX_SIZES)}
    others = sum(sizes.values()) - sum(named.values())
    return named | ({"others": others} if others else {})

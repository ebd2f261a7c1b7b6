"""ImageNet (ILSVRC2012) as published: the tree train/<synset>/, or the tar of tars.

Its training images are read. Classes are in the order of their synsets, as everywhere.
"""

import dataclasses
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Listing, Place, list_files
from pipeline.data.sources.image_folder import folder_source
from pipeline.data.sources.source import Items, Source
from pipeline.data.sources.synsets import SYNSET, find_words
from pipeline.data.sources.tar_index import TarReader, members

_TAR = "ILSVRC2012_img_train.tar"
_EXPECTED = (
    f"expected train/ with a folder a synset, such as train/n01440764/1.JPEG, or {_TAR}, and "
    "beside it the devkit or LOC_synset_mapping.txt for the classes' names"
)


def open_imagenet(path: str, cache: Path | None) -> Source:
    """`path` is the folder of train/ or of the tar, train/ itself, or the tar.

    Classes have the names that `find_words` says; without a file that does, their synsets'. Keys
    are `<synset>/<file>`. Raises UserError for another layout.
    """
    listing = list_files(path, cache, _EXPECTED)
    words = find_words(listing.place)
    origin = {"kind": "imagenet", "path": path, "part": "training images"}
    names = {entry.name for entry in listing.entries}
    if listing.is_file:
        source = _tar_source(listing, listing.entries[0].name, origin, words)
    elif "train" in listing.folders:
        source = folder_source(listing.below("train"), f"{path}/train", origin, words)
    elif _TAR in names:
        source = _tar_source(listing, _TAR, origin, words)
    elif any(SYNSET.fullmatch(folder) for folder in listing.folders):  # train/ itself
        parent = listing.place.address.rpartition("/")[0]
        if not words and parent and not parent.endswith(":/"):
            words = find_words(Place(parent, cache))
        source = folder_source(listing, path, origin, words)
    else:
        found = ", ".join((*listing.folders, *sorted(names))[:5]) or "nothing"
        raise UserError(f"data.path: {path} holds {found}; {_EXPECTED}")
    notes = [source.note, "" if words else "no file says the synsets' words"]
    return dataclasses.replace(source, name="imagenet", note="; ".join(filter(None, notes)))


def _tar_source(
    listing: Listing, tar: str, origin: dict[str, str], words: dict[str, str]
) -> Source:
    path = listing.place.path(tar)
    images: dict[str, list[tuple[str, int, int]]] = {}
    with path.open("rb") as file:
        for outer in list(members(file, tar)):
            synset = outer.name.removesuffix(".tar")
            if not SYNSET.fullmatch(synset):
                raise UserError(f"data.path: {tar} holds {outer.name}, no synset's; {_EXPECTED}")
            inner = io.BufferedReader(_Window(file, outer.offset, outer.bytes))
            images[synset] = sorted(
                (f"{synset}/{image.name}", outer.offset + image.offset, image.bytes)
                for image in members(inner, f"{outer.name} in {tar}")
            )
    if not images:
        raise UserError(f"data.path: {tar} is empty; {_EXPECTED}")
    synsets = sorted(images)
    version = path.stat().st_mtime_ns
    rows = [row for synset in synsets for row in images[synset]]
    counts = [len(images[synset]) for synset in synsets]
    return Source(
        name="imagenet",
        class_names=tuple(words.get(synset, synset) for synset in synsets),
        items=Items(
            keys=[key for key, _, _ in rows],
            labels=np.repeat(np.arange(len(synsets), dtype=np.int32), counts),
            where=np.array([(0, o, s, version) for _, o, s in rows], np.int64).reshape(-1, 4),
        ),
        read=TarReader(listing.place, (tar,)),
        origin=origin,
        preprocessing={},
    )


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + {0: 0, 1: self._position, 2: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._start + self._position)
        content = self._file.read(max(0, min(len(buffer), self._size - self._position)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

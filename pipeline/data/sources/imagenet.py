"""ImageNet (ILSVRC2012) as published: the tree train/<synset>/, or the tar of tars.

Only the training images are read. Classes are in the order of their synsets.
"""

import dataclasses
import io
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Directory, Listing, list_files
from pipeline.data.sources.image_folder import folder_source
from pipeline.data.sources.source import Items, Source
from pipeline.data.sources.tar_index import TarReader, members

SYNSET = re.compile(r"n\d{8}", re.ASCII)
# `n01440764 tench, Tinca tinca` a line, from Kaggle and from Caffe.
_TEXTS = ("LOC_synset_mapping.txt", "synset_words.txt")
_META = "ILSVRC2012_devkit_t12/data/meta.mat"
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_TAR = "ILSVRC2012_img_train.tar"
_EXPECTED = (
    f"expected train/ with a folder a synset, such as train/n01440764/1.JPEG, or {_TAR}, and "
    "beside it the devkit or LOC_synset_mapping.txt for the classes' names"
)


def open_imagenet(path: str, cache: Path | None) -> Source:
    """`path` is the folder of train/ or of the tar, train/ itself, or the tar.

    Classes are named by `find_words`, or by their synsets where no file has words. Keys are
    `<synset>/<file>`. Raises UserError for another layout.
    """
    listing = list_files(path, cache, _EXPECTED)
    words = find_words(listing.directory)
    origin = {"kind": "imagenet", "path": path, "part": "training images"}
    names = {entry.name for entry in listing.entries}
    if listing.is_file:
        source = _tar_source(listing, listing.entries[0].name, origin, words)
    elif "train" in listing.folders:
        source = folder_source(listing.below("train"), f"{path}/train", origin, words)
    elif _TAR in names:
        source = _tar_source(listing, _TAR, origin, words)
    elif any(SYNSET.fullmatch(folder) for folder in listing.folders):  # train/ itself
        parent = listing.directory.address.rpartition("/")[0]
        if not words and parent and not parent.endswith(":/"):
            words = find_words(Directory(parent, cache))
        source = folder_source(listing, path, origin, words)
    else:
        found = ", ".join((*listing.folders, *sorted(names))[:5]) or "nothing"
        raise UserError(f"data.path: {path} holds {found}; {_EXPECTED}")
    notes = [source.note, "" if words else "no file with the synsets' words"]
    return dataclasses.replace(source, name="imagenet", note="; ".join(filter(None, notes)))


def _tar_source(
    listing: Listing, tar: str, origin: dict[str, str], words: dict[str, str]
) -> Source:
    path = listing.directory.path(tar)
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
        read=TarReader(listing.directory, (tar,)),
        origin=origin,
        preprocessing={},
    )


class _Window(io.RawIOBase):
    """A range of a file as a file."""

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


def find_words(directory: Directory) -> dict[str, str]:
    """A word for each synset, from the first file of `directory` that has them; empty without one.

    It is the first of the synset's words, followed by the synset where two share it:
    `crane (n02012849)`. Raises UserError for a file that is damaged.
    """
    for name in (*_TEXTS, _META, _DEVKIT):
        if directory.has(name):
            try:
                return _words(name, directory)
            except (ValueError, KeyError, tarfile.TarError, EOFError, OSError) as error:
                raise UserError(
                    f"data.path: {name} in {directory.address} is no file of synsets' words "
                    f"({error}); fetch it anew or remove it"
                ) from None
    return {}


def _words(name: str, directory: Directory) -> dict[str, str]:
    path = directory.path(name)
    if name in _TEXTS:
        return _from_text(path.read_text(encoding="utf-8"))
    if name == _META:
        return _from_meta(path.read_bytes())
    with tarfile.open(path) as archive:
        meta = archive.extractfile(_META)
        return _from_meta(meta.read() if meta is not None else b"")


def _from_text(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        synset, _, words = line.partition(" ")
        if SYNSET.fullmatch(synset) and words.strip():
            found[synset] = words.strip()
    if not found:
        raise ValueError("no line begins with a synset")
    return _distinct(found)


def _from_meta(content: bytes) -> dict[str, str]:
    # Here: the import takes a third of a second.
    from scipy.io import loadmat

    try:
        rows = np.ravel(loadmat(io.BytesIO(content), squeeze_me=True)["synsets"])
        found = {str(row["WNID"]): str(row["words"]) for row in rows}
    except (TypeError, IndexError, NotImplementedError) as error:
        raise ValueError(str(error)) from None
    return _distinct({synset: words for synset, words in found.items() if words})


def _distinct(words: dict[str, str]) -> dict[str, str]:
    firsts = {synset: text.split(",")[0].strip() for synset, text in words.items()}
    uses = Counter(firsts.values())
    return {s: first if uses[first] == 1 else f"{first} ({s})" for s, first in firsts.items()}
